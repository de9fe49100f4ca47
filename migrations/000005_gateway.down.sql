-- For development only: telemetry, alerts, prices and the keys of agents are lost.
drop table alerts, alert_rules, unknown_servers, model_prices, usage_hours, usage_days;
drop trigger calls_copied on calls;
drop table call_records;
drop function copy_call, keep_call_records, add_up_calls, usage_step, add_steps;
alter table tools drop column labels;
alter table servers drop column client_requests;
drop table agent_keys;
alter table agents drop column models;
