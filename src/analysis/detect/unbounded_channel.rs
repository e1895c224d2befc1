//! A queue without a bound, filled faster than it is emptied.
//!
//! The messages' own memory is allocated before they are sent; what shows the queue are its blocks, often on another
//! stack of the same group.

use super::{Detector, Match, NAME, Trace};
use crate::analysis::finding::Evidence;

/// Queues that obtain memory while sending only because they have no bound.
const UNBOUNDED: &[&str] = &[
    "std::sync::mpmc::list",
    "std::sync::mpsc::mpsc_queue",
    "std::sync::mpsc::spsc_queue",
    "crossbeam_channel::flavors::list",
    "crossbeam_queue::seg_queue",
    "concurrent_queue::unbounded",
    "tokio::sync::mpsc::unbounded",
    "tokio::sync::mpsc::list",
    "tokio::sync::mpsc::block",
    "futures_channel::mpsc::queue",
    "futures_channel::mpsc::UnboundedSender",
    "flume::Chan",
    "flume::Shared",
    "kanal",
    "moodycamel::ConcurrentQueue",
    "moodycamel::ReaderWriterQueue",
    "tbb::detail::d1::concurrent_queue",
    "tbb::detail::d2::concurrent_queue",
    "folly::UnboundedQueue",
];
/// The same memory in the hands of a bounded queue: at most its capacity.
const BOUNDED: &[&str] = &[
    "tokio::sync::mpsc::bounded",
    "futures_channel::mpsc::Sender",
    "futures_channel::mpsc::BoundedSenderInner",
    "std::sync::mpmc::array",
    "crossbeam_channel::flavors::array",
];

pub(super) const DETECTOR: Detector = Detector {
    id: "unbounded_channel",
    summary: "a channel without a bound is filled faster than it is emptied",
    shown_by: "a stack of the group on which an unbounded queue obtains a block (std and crossbeam list channels, tokio and futures unbounded channels, flume, async-channel, moodycamel, TBB).",
    near_misses: "Bounded channels, which use the same blocks in tokio and futures; a backlog that drains; the one allocation when a channel is made.",
    fix: "Bound the channel and decide what a sender does when it is full; look why the receiver is slow or gone.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let (strand, step) = trace.stacks.iter().find_map(|strand| {
        let near = strand.near(1);
        if near.iter().any(|step| BOUNDED.iter().any(|prefix| step.path.within(prefix))) {
            return None;
        }
        near.iter()
            .find(|step| UNBOUNDED.iter().any(|prefix| step.path.within(prefix)) && !is_construction(step.path.last()))
            .map(|step| (strand, step))
    })?;
    let mut evidence = vec![step.shows(format!("`{}` obtains room for messages that nobody has received yet", step.name()))];
    if !std::ptr::eq(strand, trace.heaviest()) {
        evidence.push(Evidence::new(
            "the queue's blocks and the heaviest stack grow together: the messages hold that memory",
            "stacks of the group",
        ));
    }
    Some(Match {
        weight: NAME,
        evidence,
        remedy: format!(
            "use a bounded channel (`sync_channel`, `channel(n)`, `bounded(n)`) and decide what the sender in `{}` does when it is full; look why the receiver is slower, blocked or gone",
            strand.caller(step).unwrap_or_else(|| trace.owner())
        ),
        refuted_by: "the backlog drains after the last snapshot (count sent less received), or the channel was made with a bound"
            .to_owned(),
        keywords: vec!["unbounded channel", "backpressure", "mpsc backlog"],
    })
}

fn is_construction(name: &str) -> bool {
    matches!(name, "new" | "unbounded" | "channel" | "unbounded_channel")
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::{Sketch, check};

    const BLOCK: &str = "a malloc\nl alloc::boxed::Box<T>::new_zeroed\nl std::sync::mpmc::list::Channel<T>::start_send\nl std::sync::mpmc::list::Channel<T>::send\nl std::sync::mpsc::Sender<T>::send\nu app::enqueue";

    #[test]
    fn blocks_of_unbounded_queues() {
        check(BLOCK, Some("unbounded_channel"));
        check(
            "a malloc\nd tokio::sync::mpsc::list::Tx<T>::grow\nd tokio::sync::mpsc::unbounded::UnboundedSender<T>::send\nu app::enqueue",
            Some("unbounded_channel"),
        );
        check("a malloc\nd crossbeam_channel::flavors::list::Channel<T>::start_send\nu app::enqueue", Some("unbounded_channel"));
    }

    #[test]
    fn the_messages_may_be_heavier_than_the_queue() {
        let (id, found) =
            Sketch::new("a malloc\nl alloc::vec::Vec<T,A>::with_capacity\nu app::capture").beside(BLOCK, 1000.0).examine().unwrap();
        assert_eq!((id, found.evidence.len()), ("unbounded_channel", 2));
        assert_eq!(found.evidence[0].source, "another stack of the group, frame 2");
    }

    #[test]
    fn near_misses() {
        check(
            "a malloc\nd tokio::sync::mpsc::list::Tx<T>::grow\nd tokio::sync::mpsc::chan::Tx<T,S>::send\nd tokio::sync::mpsc::bounded::Sender<T>::send\nu app::enqueue",
            None,
        );
        check("a malloc\nl std::sync::mpmc::array::Channel<T>::with_capacity\nl std::sync::mpsc::sync_channel\nu app::start", None);
        check("a malloc\nl alloc::vec::Vec<T,A>::push\nu app::channel::send", None);
    }
}
