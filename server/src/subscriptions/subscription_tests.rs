//! One subscription in virtual time.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::subscriptions::spec::AckedStream;

const STREAM: StreamId = StreamId(1);

/// A subscription with its clock, and the changes that a journal would hold.
struct World {
    subscription: Subscription,
    born: Subscription,
    journal: Vec<Change>,
    effects: Vec<Effect>,
    now: Millis,
}

fn at(now: Millis) -> Moment {
    Moment { now, random: now }
}

impl World {
    fn new(kind: Kind, pattern: Option<&str>, streams: &[&str], links: Vec<Link>) -> Self {
        let spec = Spec {
            kind,
            pattern: pattern.map(Into::into),
            streams: streams.iter().map(|path| Arc::from(*path)).collect(),
            lease_ttl_ms: 1_000,
            description: None,
        };
        let subscription = Subscription::new(spec, "http://host/v1/stream".into(), links, at(0));
        Self { born: subscription.clone(), subscription, journal: Vec::new(), effects: Vec::new(), now: 0 }
    }

    fn webhook() -> Self {
        Self::new(Kind::Webhook { url: "https://example.com".into() }, Some("events/*"), &[], Vec::new())
    }

    fn pull() -> Self {
        Self::new(Kind::PullWake { wake_stream: "wakes".into() }, Some("events/*"), &[], Vec::new())
    }

    /// Does something, and files what came of it.
    fn act<T>(&mut self, act: impl FnOnce(&mut Subscription, Moment, &mut Step) -> T) -> T {
        let mut step = Step::default();
        let outcome = act(&mut self.subscription, at(self.now), &mut step);
        self.journal.extend(step.changes);
        self.effects.extend(step.effects);
        outcome
    }

    fn append(&mut self, path: &str, tail: u64) {
        self.append_to(path, STREAM, tail);
    }

    fn append_to(&mut self, path: &str, stream: StreamId, tail: u64) {
        let path = Arc::from(path);
        let seen = Seen { path: &path, stream, base: Position::ZERO, tail: Position(tail) };
        self.act(|it, at, step| it.handle_seen(seen, at, step));
    }

    fn pass(&mut self, time: Millis) {
        self.now += time;
        self.act(|it, at, step| it.handle_timeout(at, step));
    }

    fn wake_id(&self) -> String {
        self.subscription.wake().unwrap().id.clone()
    }

    fn claim(&mut self, worker: &str) -> Result<(), Refusal> {
        self.act(|it, at, step| it.claim(worker.into(), at, step))
    }

    /// An ack for the current wake.
    fn current(&self, acks: &[(&str, u64)], done: bool) -> Ack {
        let acks = acks
            .iter()
            .map(|(stream, offset)| AckedStream { stream: (*stream).into(), offset: Position(*offset).to_string() });
        Ack { wake_id: self.wake_id(), generation: self.subscription.generation(), acks: acks.collect(), done }
    }

    fn ack(&mut self, ack: &Ack) -> Result<bool, Refusal> {
        self.act(|it, at, step| it.ack(ack.generation, ack, at, step))
    }

    fn delivered(&mut self, wake_id: &str, done: bool) {
        let sent = self.now;
        self.act(|it, at, step| it.handle_delivered(wake_id, done, sent, at, step));
    }

    fn undelivered(&mut self, wake_id: &str) {
        self.act(|it, at, step| it.handle_undelivered(wake_id, at, step));
    }

    fn acked(&self, path: &str) -> String {
        self.subscription.links().find(path).unwrap().acked.to_string()
    }

    fn delivery(&self) -> Effect {
        Effect::Deliver { wake_id: self.wake_id() }
    }

    /// What a server that starts anew makes of the journal.
    fn replayed(&self) -> Subscription {
        // Through the text that is stored, so that the format is part of every test.
        let mut subscription: Subscription = serde_json::from_str(&serde_json::to_string(&self.born).unwrap()).unwrap();
        let changes: Vec<Change> = serde_json::from_str(&serde_json::to_string(&self.journal).unwrap()).unwrap();
        changes.iter().for_each(|change| subscription.apply(change));
        subscription
    }
}

fn offset(at: u64) -> String {
    Position(at).to_string()
}

fn is_invalid(outcome: Result<bool, Refusal>) -> bool {
    matches!(outcome, Err(Refusal::InvalidOffset(_)))
}

#[test]
fn s_sub_4_what_was_there_before_is_not_replayed() {
    let there = Link {
        path: "events/old".into(),
        explicit: false,
        glob: true,
        acked: Acked::at(Position(7)),
        stream: Some(STREAM),
    };
    let mut world = World::new(Kind::Webhook { url: String::new() }, Some("events/*"), &[], vec![there]);
    world.append("events/old", 7);
    assert_eq!(world.effects, []);
    world.append("events/old", 9);
    assert_eq!(world.effects, [world.delivery()]);
}

#[test]
fn s_sub_5_a_stream_that_appears_later_is_linked_at_its_first_append_and_is_pending() {
    let mut world = World::pull();
    world.append("events/new", 0);
    assert_eq!(world.subscription.links().iter().count(), 0, "an empty stream is not linked yet");
    world.append("events/new", 5);
    assert_eq!(world.acked("events/new"), "-1");
    assert!(world.subscription.links().is_pending("events/new"));
    world.append("other/new", 5);
    assert_eq!(world.subscription.links().iter().count(), 1, "the pattern does not match");
}

#[test]
fn s_sub_5_an_explicit_stream_that_is_missing_is_linked_at_the_zero_offset() {
    let mut world = World::new(Kind::Webhook { url: String::new() }, None, &["later"], Vec::new());
    assert_eq!(world.acked("later"), offset(0));
    assert_eq!(world.subscription.poll_timeout(), None);
    world.append("later", 3);
    assert_eq!(world.effects, [world.delivery()]);
    assert_eq!(world.acked("later"), offset(0));
}

#[test]
fn s_sub_6_a_link_is_explicit_or_by_pattern_or_both_and_its_cursor_stays() {
    let mut world = World::pull();
    world.append("events/a", 5);
    world.claim("w").unwrap();
    world.ack(&world.current(&[("events/a", 3)], true)).unwrap();
    let path: Arc<str> = "events/a".into();
    assert_eq!(world.subscription.links().find(&path).unwrap().link_type(), "glob");
    for _ in 0..2 {
        world.act(|it, _, step| it.add_stream(&path, Some((STREAM, Position(5))), step));
        assert_eq!(world.subscription.links().find(&path).unwrap().link_type(), "explicit");
        assert_eq!(world.acked(&path), offset(3), "adding it again moves nothing");
    }
    world.act(|it, _, step| it.remove_stream(&path, step));
    assert_eq!(world.subscription.links().find(&path).unwrap().link_type(), "glob");
    world.act(|it, _, step| it.remove_stream(&path, step));
    assert!(world.subscription.links().find(&path).is_some(), "the pattern holds it");
    let other: Arc<str> = "other".into();
    world.act(|it, _, step| it.add_stream(&other, Some((STREAM, Position(4))), step));
    assert_eq!(world.acked(&other), offset(4));
    world.act(|it, _, step| it.remove_stream(&other, step));
    assert!(world.subscription.links().find(&other).is_none(), "nothing holds it");
    let before = world.journal.len();
    world.act(|it, _, step| it.remove_stream(&other, step));
    assert_eq!(world.journal.len(), before);
}

#[test]
fn s_wake_1_to_3_one_wake_at_a_time_and_what_came_meanwhile_is_found_when_it_ends() {
    let mut world = World::webhook();
    world.append("events/a", 5);
    let first = world.wake_id();
    assert_eq!(world.subscription.generation(), 1);
    world.append("events/a", 8);
    world.append("events/b", 2);
    assert_eq!(world.effects.len(), 1, "S-WAKE-3: a wake is in flight");
    world.delivered(&first, true);
    assert_eq!(world.acked("events/a"), offset(5), "S-WAKE-2: the snapshot, not what came after it");
    assert_eq!(world.subscription.generation(), 2);
    assert_ne!(world.wake_id(), first);
    assert_eq!(world.effects.last(), Some(&world.delivery()));
    world.delivered(&world.wake_id(), true);
    assert_eq!((world.acked("events/a"), world.acked("events/b")), (offset(8), offset(2)));
    assert!(world.subscription.wake().is_none());
}

#[test]
fn s_hook_5_and_s_lease_1_a_silent_worker_loses_the_lease_and_is_fenced() {
    let mut world = World::webhook();
    world.append("events/a", 5);
    let first = world.current(&[("events/a", 5)], true);
    world.delivered(&first.wake_id, false);
    assert_eq!(world.subscription.poll_timeout(), Some(1_000));
    world.pass(999);
    // A callback restarts the lease.
    world.ack(&world.current(&[], false)).unwrap();
    assert_eq!(world.subscription.poll_timeout(), Some(1_999));
    world.pass(999);
    assert_eq!(world.wake_id(), first.wake_id);
    world.pass(1);
    assert_eq!(world.subscription.generation(), 2);
    assert_eq!(world.effects.len(), 2, "the work is still there, so a new wake begins");
    assert_eq!(world.ack(&first), Err(Refusal::Fenced));
    assert_eq!(world.acked("events/a"), "-1");
}

#[test]
fn s_lease_1_a_lease_is_over_at_its_moment_even_if_no_timer_has_run() {
    let mut world = World::pull();
    world.append("events/a", 5);
    world.claim("one").unwrap();
    let first = world.current(&[("events/a", 5)], true);
    world.now = 1_000;
    assert_eq!(world.ack(&first), Err(Refusal::Fenced));
    assert_eq!(world.claim("two"), Ok(()));
    assert_eq!(world.subscription.generation(), 2);
}

#[test]
fn s_hook_5_a_wake_that_is_not_delivered_yet_has_no_lease_that_could_end() {
    let mut world = World::webhook();
    world.append("events/a", 5);
    assert_eq!(world.subscription.poll_timeout(), None);
    let (sent, wake_id) = (world.now, world.wake_id());
    world.now = 5_000;
    // An answer that took longer than the lease is too late.
    world.act(|it, at, step| it.handle_delivered(&wake_id, false, sent, at, step));
    assert_eq!(world.subscription.generation(), 2);
}

#[test]
fn s_hook_6_another_2xx_leaves_the_wake_in_flight_until_the_callback() {
    let mut world = World::webhook();
    world.append("events/a", 5);
    world.delivered(&world.wake_id(), false);
    assert_eq!(world.acked("events/a"), "-1");
    assert_eq!(world.ack(&world.current(&[("events/a", 5)], true)), Ok(false));
    assert!(world.subscription.wake().is_none());
}

#[test]
fn s_hook_6_a_late_answer_to_an_earlier_wake_changes_nothing() {
    let mut world = World::webhook();
    world.append("events/a", 5);
    let first = world.wake_id();
    world.delivered(&first, false);
    world.pass(1_000);
    let before = world.subscription.clone();
    world.delivered(&first, true);
    world.undelivered(&first);
    assert_eq!(world.subscription, before);
}

#[test]
fn s_hook_7_failures_back_off_up_to_a_minute_and_a_success_forgets_them() {
    let mut world = World::webhook();
    world.append("events/a", 5);
    let wake_id = world.wake_id();
    for expected in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
        assert_eq!(world.subscription.poll_timeout(), None);
        world.undelivered(&wake_id);
        assert!(world.subscription.is_failing(), "S-SUB-9");
        let delay = world.subscription.poll_timeout().unwrap() - world.now;
        assert!((expected * 8 / 10..=expected * 12 / 10).contains(&delay), "{delay} for {expected}");
        world.append("events/a", 6);
        world.pass(delay - 1);
        assert_eq!(world.effects.last(), Some(&world.delivery()));
        let sent = world.effects.len();
        world.pass(1);
        assert_eq!(world.effects.len(), sent + 1, "it is sent again at its moment, and not before");
    }
    assert_eq!(world.wake_id(), wake_id, "it is the same wake");
    world.delivered(&wake_id, true);
    assert!(!world.subscription.is_failing());
    world.undelivered(&world.wake_id());
    assert!(world.subscription.poll_timeout().unwrap() - world.now <= 1_200, "counting begins anew");
}

#[test]
fn s_hook_7_jitter_is_twenty_percent_both_ways() {
    let delays: Vec<_> = (0..1_000).map(|random| retry_delay(3, random)).collect();
    assert_eq!((delays.iter().min(), delays.iter().max()), (Some(&3_200), Some(&4_800)));
    assert!(retry_delay(u32::MAX, 400) == 72_000 && retry_delay(u32::MAX, 0) == 48_000);
}

#[test]
fn a_callback_counts_more_than_a_lost_answer() {
    let mut world = World::webhook();
    world.append("events/a", 5);
    // The worker calls back before its answer is there, and the answer gets lost.
    world.ack(&world.current(&[], false)).unwrap();
    world.undelivered(&world.wake_id());
    assert!(!world.subscription.is_failing());
    assert_eq!(world.subscription.poll_timeout(), Some(1_000));
    // The same after the failure was noticed: no further delivery.
    let mut world = World::webhook();
    world.append("events/a", 5);
    world.undelivered(&world.wake_id());
    world.ack(&world.current(&[("events/a", 5)], true)).unwrap();
    assert!(!world.subscription.is_failing());
    assert_eq!(world.subscription.poll_timeout(), None);
}

#[test]
fn s_pull_2_to_4_one_worker_has_the_lease() {
    let mut world = World::pull();
    assert_eq!(world.claim("one"), Err(Refusal::NoPendingWork));
    world.append("events/a", 5);
    assert_eq!(world.effects, [Effect::Announce { wake_id: world.wake_id() }]);
    assert_eq!(world.subscription.poll_timeout(), None, "nobody has claimed it");
    assert_eq!(world.claim("one"), Ok(()));
    assert_eq!(world.subscription.poll_timeout(), Some(1_000), "S-PULL-2: the lease starts with the claim");
    for worker in ["one", "two"] {
        let held = Refusal::AlreadyClaimed { holder: "one".into(), generation: 1 };
        assert_eq!(world.claim(worker), Err(held), "S-PULL-3");
    }
}

#[test]
fn s_pull_5_acks_move_cursors_and_done_tells_whether_there_is_more() {
    let mut world = World::pull();
    world.append("events/a", 5);
    world.claim("one").unwrap();
    world.pass(600);
    assert_eq!(world.ack(&world.current(&[("events/a", 2)], false)), Ok(false));
    assert_eq!(world.subscription.poll_timeout(), Some(1_600));
    assert_eq!(world.acked("events/a"), offset(2));
    assert_eq!(world.ack(&world.current(&[("events/a", 4)], true)), Ok(true), "a byte is left");
    assert_eq!(world.subscription.generation(), 2);
    world.claim("two").unwrap();
    let last = world.current(&[("events/a", 5)], true);
    assert_eq!(world.ack(&last), Ok(false));
    assert_eq!(world.ack(&last), Err(Refusal::Fenced), "S-LEASE-2");
}

#[test]
fn s_pull_6_a_release_ends_the_wake_without_acks_and_the_next_one_begins() {
    let mut world = World::pull();
    world.append("events/a", 5);
    world.claim("one").unwrap();
    let ack = world.current(&[], false);
    world.act(|it, at, step| it.release(ack.generation, &ack, at, step)).unwrap();
    assert_eq!(world.acked("events/a"), "-1");
    assert_eq!(world.subscription.generation(), 2);
    assert_eq!(world.effects.last(), Some(&Effect::Announce { wake_id: world.wake_id() }));
    let late = world.act(|it, at, step| it.release(ack.generation, &ack, at, step));
    assert_eq!(late, Err(Refusal::Fenced));
}

#[test]
fn t_ack_5_every_part_of_the_identity_of_a_wake_fences() {
    let mut world = World::pull();
    world.append("events/a", 5);
    world.claim("one").unwrap();
    let good = world.current(&[], false);
    let other_id = Ack { wake_id: "wake_1_other".into(), ..world.current(&[], false) };
    let other_generation = Ack { generation: 2, ..world.current(&[], false) };
    for (token, ack) in [(1, &other_id), (1, &other_generation), (2, &other_generation), (2, &good), (0, &good)] {
        assert_eq!(world.act(|it, at, step| it.ack(token, ack, at, step)), Err(Refusal::Fenced), "{token} {ack:?}");
    }
    assert_eq!(world.ack(&good), Ok(false));
}

#[test]
fn t_ack_6_one_ack_that_cannot_be_applied_keeps_all_of_them_out() {
    let mut world = World::pull();
    world.append("events/a", 5);
    world.append("events/b", 5);
    world.claim("one").unwrap();
    world.ack(&world.current(&[("events/a", 3)], false)).unwrap();
    for (stream, at) in [("events/c", 1), ("events/a", 2), ("events/a", 6), ("events/a", u64::MAX)] {
        assert!(is_invalid(world.ack(&world.current(&[("events/b", 5), (stream, at)], true))), "{stream} {at}");
    }
    let mut beginning = world.current(&[("events/b", 5)], true);
    beginning.acks.push(AckedStream { stream: "events/a".into(), offset: "-1".into() });
    assert!(is_invalid(world.ack(&beginning)));
    assert_eq!(world.acked("events/b"), "-1");
    assert_eq!(world.ack(&world.current(&[("/events/a/", 3)], false)), Ok(false), "equal is fine");
}

#[test]
fn a_stream_that_is_deleted_and_made_anew_begins_anew() {
    let mut world = World::pull();
    world.append("events/a", 100);
    world.claim("one").unwrap();
    world.ack(&world.current(&[("events/a", 100)], true)).unwrap();
    world.act(|it, _, step| it.handle_removed(&"events/a".into(), STREAM, step));
    assert!(world.subscription.links().find("events/a").is_none());
    world.append_to("events/a", StreamId(2), 3);
    assert_eq!(world.acked("events/a"), "-1");
    assert!(world.subscription.links().has_pending(), "3 is less than 100, and news all the same");

    // The same when nobody has seen it go, in the middle of a wake.
    let mut world = World::webhook();
    world.append("events/a", 100);
    world.append_to("events/a", StreamId(2), 3);
    world.delivered(&world.wake_id(), true);
    assert_eq!(world.acked("events/a"), "-1", "the snapshot was of another stream");
    assert_eq!(world.subscription.generation(), 2);
}

#[test]
fn the_work_of_a_deleted_stream_is_gone_with_it() {
    let mut world = World::pull();
    world.append("events/a", 5);
    world.act(|it, _, step| it.handle_removed(&"events/a".into(), StreamId(9), step));
    assert!(world.subscription.links().has_pending(), "that was an earlier one of this name");
    world.act(|it, _, step| it.handle_removed(&"events/a".into(), STREAM, step));
    assert_eq!(world.claim("one"), Err(Refusal::NoPendingWork));
    assert!(world.subscription.wake().is_none());
}

#[test]
fn a_wake_names_a_bounded_number_of_streams_and_the_next_one_the_rest() {
    let mut world = World::webhook();
    world.append("events/0", 1);
    let first = world.wake_id();
    for n in 0..=STREAMS_PER_WAKE {
        world.append(&format!("events/{n}"), 1);
    }
    world.delivered(&first, true);
    assert_eq!(world.subscription.wake().unwrap().snapshot.len(), STREAMS_PER_WAKE);
    world.append("events/more", 1);
    world.delivered(&world.wake_id(), true);
    assert_eq!(world.subscription.wake().unwrap().snapshot.len(), 1);
}

/// What can happen to a subscription.
#[derive(Clone, Debug)]
enum Act {
    Append(u8, u64),
    Recreate(u8),
    Add(u8),
    Remove(u8),
    Claim,
    Ack(u8, u64, bool),
    Release,
    Delivered(bool),
    Undelivered,
    Pass(Millis),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..3_u8, 1..4_u64).prop_map(|(stream, by)| Act::Append(stream, by)),
        1 => (0..3_u8).prop_map(Act::Recreate),
        1 => (0..3_u8).prop_map(Act::Add),
        1 => (0..3_u8).prop_map(Act::Remove),
        2 => Just(Act::Claim),
        3 => (0..3_u8, 0..12_u64, any::<bool>()).prop_map(|(stream, at, done)| Act::Ack(stream, at, done)),
        1 => Just(Act::Release),
        2 => any::<bool>().prop_map(Act::Delivered),
        1 => Just(Act::Undelivered),
        3 => (1..3_000_u64).prop_map(Act::Pass),
    ];
    proptest::collection::vec(act, 1..60)
}

proptest! {
    /// After every step: what the journal rebuilds is the same (S-SUB-12); there is a wake exactly if there was work
    /// when it began or there is work now (S-WAKE-1), so that no work waits unseen; generations only grow; cursors of one
    /// incarnation never move back.
    #[test]
    fn nothing_is_lost_whatever_happens_in_whatever_order(acts in acts(), webhook in any::<bool>()) {
        let mut world = if webhook { World::webhook() } else { World::pull() };
        let mut streams = [(1_u64, 0_u64); 3];
        for act in acts {
            let name = |stream: u8| Arc::<str>::from(format!("events/{stream}"));
            let before = world.subscription.clone();
            let wake = world.subscription.wake().map(|wake| wake.id.clone()).unwrap_or_default();
            match act {
                Act::Append(stream, by) => {
                    let (id, tail) = &mut streams[usize::from(stream)];
                    *tail += by;
                    let (id, tail) = (*id, *tail);
                    world.append_to(&name(stream), StreamId(id), tail);
                }
                Act::Recreate(stream) => {
                    let (id, tail) = &mut streams[usize::from(stream)];
                    let gone = *id;
                    (*id, *tail) = (gone + 1, 0);
                    world.act(|it, _, step| it.handle_removed(&name(stream), StreamId(gone), step));
                }
                Act::Add(stream) => {
                    let (id, tail) = streams[usize::from(stream)];
                    let found = (StreamId(id), Position(tail));
                    world.act(|it, at, step| {
                        it.add_stream(&name(stream), Some(found), step);
                        let path = name(stream);
                        it.handle_seen(Seen { path: &path, stream: found.0, base: Position::ZERO, tail: found.1 }, at, step);
                    });
                }
                Act::Remove(stream) => world.act(|it, _, step| it.remove_stream(&name(stream), step)),
                Act::Claim if !webhook => drop(world.claim("worker")),
                Act::Ack(stream, position, done) if world.subscription.wake().is_some() => {
                    drop(world.ack(&world.current(&[(&name(stream), position)], done)));
                }
                Act::Release if world.subscription.wake().is_some() => {
                    let ack = world.current(&[], false);
                    drop(world.act(|it, at, step| it.release(ack.generation, &ack, at, step)));
                }
                Act::Delivered(done) if webhook => world.delivered(&wake, done),
                Act::Undelivered if webhook => world.undelivered(&wake),
                Act::Pass(time) => world.pass(time),
                _ => {}
            }
            let subscription = &world.subscription;
            prop_assert_eq!(&world.replayed(), subscription);
            let has_pending = subscription.links().has_pending();
            prop_assert!(subscription.wake().is_some() || !has_pending, "work without a wake");
            prop_assert!(subscription.generation() >= before.generation());
            let woken = subscription.generation() != before.generation();
            prop_assert_eq!(woken, subscription.wake().is_some_and(|now| now.id != wake));
            for link in before.links().iter() {
                if let Some(after) = subscription.links().find(&link.path).filter(|after| after.stream == link.stream) {
                    prop_assert!(after.acked >= link.acked);
                }
            }
            for (stream, (id, tail)) in streams.iter().enumerate() {
                let path = format!("events/{stream}");
                let link = subscription.links().find(&path);
                let unseen = link.is_none_or(|link| link.stream == Some(StreamId(*id)) && link.acked.is_before(Position(*tail)));
                prop_assert!(*tail == 0 || link.is_some(), "a stream with data is linked");
                prop_assert_eq!(subscription.links().is_pending(&path), *tail > 0 && unseen);
            }
        }
    }
}
