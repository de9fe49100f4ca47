-- When a thing was last called, so that the sprawl report need not search all calls, and knows it when these are purged.
create table tool_usage (
  server  text not null,
  tool    text not null,
  kind    text not null,
  last_at timestamptz not null,
  primary key (server, tool, kind)
);
insert into tool_usage (server, tool, kind, last_at) select server, tool, kind, max(at) from calls group by server, tool, kind;

grant select, insert, update on tool_usage to countersign_runtime;
