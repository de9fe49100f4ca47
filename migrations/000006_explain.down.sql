drop table policy_tests;
