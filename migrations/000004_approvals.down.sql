-- For development only: agents, channels, reviews and all that was decided by them are lost.
drop table notifier, delivery_attempts, deliveries, notices, channels, reviews, approval_views;
alter table votes drop column scope, drop column emergency, drop column acr;
alter table approvals
  drop constraint approvals_purged,
  drop column terms, drop column escalate_at, drop column escalated_at, drop column granters, drop column scope,
  drop column allowance_id, drop column emergency, drop column revealed_at, drop column purged_at;
drop index approvals_of_caller, approvals_of_tool;
drop table allowances;
alter table sessions drop column acr;
alter table signins drop column person_id, drop column max_age_seconds, drop column acr_values;
drop table agents;
