drop table tool_usage;
