package notify

import (
	"context"
	"fmt"
)

const (
	takeBatch   = 200
	fullDigest  = 1000 // notices with which a digest does not wait any longer
	alivePeriod = 3600 // seconds between heartbeats of a channel without a digest
)

// takeNotices makes deliveries of new notices, one statement for a batch: a notice is taken with its deliveries or
// not at all. An emergency is told to every channel, whatever it asks for, save those that watch the heartbeat alone.
// Channels are locked meanwhile, so that one which is paused or ended gets nothing afterwards. It returns how many
// notices it took.
func (n *Notifier) takeNotices(ctx context.Context) (int, error) {
	var taken int
	err := n.pool.QueryRow(ctx, `
		with fresh as (
			select id from notices where taken_at is null order by id limit $1 for update skip locked
		), taken as (
			update notices n set taken_at = clock_timestamp() from fresh f where n.id = f.id
			returning n.id, n.topic, n.team_ids, n.urgent
		), live as (
			select id, team_id, topics, digest_seconds from channels
			where ended_at is null and paused_at is null and exists (select from fresh)
			order by id for share
		), matched as (
			select t.id as notice, c.id as channel, c.digest_seconds, t.urgent or c.digest_seconds = 0 as at_once
			from taken t join live c
			  on t.topic = '`+topicEmergency+`' and c.topics <> array['`+TopicAlive+`']
			  or t.topic = any (c.topics) and (c.team_id is null or c.team_id = any (t.team_ids))
		), single as (
			insert into deliveries (channel_id, notice_ids) select channel, array[notice] from matched where at_once
		), digest as (
			insert into deliveries as d (channel_id, notice_ids, collecting, due_at)
			select channel, array_agg(notice order by notice), true, clock_timestamp() + digest_seconds * interval '1 second'
			from matched where not at_once group by channel, digest_seconds
			on conflict (channel_id) where collecting do update
			   set notice_ids = d.notice_ids || excluded.notice_ids,
			       due_at = case when cardinality(d.notice_ids) + cardinality(excluded.notice_ids) < $2 then d.due_at else clock_timestamp() end
		)
		select count(*)::int from taken`, takeBatch, fullDigest).Scan(&taken)
	if err != nil {
		return 0, fmt.Errorf("making deliveries of notices: %w", err)
	}
	return taken, nil
}

// sayAlive makes the heartbeats that are due: the watch that would miss them is outside.
func (n *Notifier) sayAlive(ctx context.Context) error {
	_, err := n.pool.Exec(ctx, `
		with due as (
			update channels set alive_at = clock_timestamp()
			where ended_at is null and paused_at is null and '`+TopicAlive+`' = any (topics)
			  and (alive_at is null or alive_at <= clock_timestamp() - coalesce(nullif(digest_seconds, 0), $1) * interval '1 second')
			returning id
		)
		insert into deliveries (channel_id, about) select id, 'alive' from due`, alivePeriod)
	if err != nil {
		return fmt.Errorf("making heartbeats: %w", err)
	}
	return nil
}
