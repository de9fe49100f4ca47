-- For development only: a grant that has a condition would allow more without it, so such grants end.
update grants set ended_at = clock_timestamp(), ended_by = 'migration', version = version + 1
where condition <> '' and ended_at is null;
alter table grants drop column condition;
alter table guardrails drop column condition;
