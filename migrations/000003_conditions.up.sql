-- Rules that look at the arguments of a call: one CEL expression each, '' for none. The program says what is a good
-- one; the database only bounds it.
alter table grants add column condition text not null default '',
  add constraint grants_condition_size check (octet_length(condition) <= 4096);
alter table guardrails add column condition text not null default '',
  add constraint guardrails_condition_size check (octet_length(condition) <= 4096);
