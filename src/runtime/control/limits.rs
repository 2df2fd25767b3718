//! What a client may take. Whoever speaks to the socket is the user, so these are not about secrecy, but about
//! a program that misbehaves: nobody locks the others out, and nothing grows without an end.

use std::time::Duration;

/// So long a connection may take to send the head of its request. It is one line and a few more, sent by a
/// program on the same machine; whoever takes longer has nothing to say.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(5);

/// A longer head is refused. Bytes. What is asked for is in the path, the query and a few header lines; the names
/// of some hundred components fit.
pub(super) const LONGEST_HEAD: usize = 16 << 10;

/// So long the body of a request may take after its head.
pub(super) const BODY_TIME: Duration = Duration::from_secs(5);

/// A longer body is refused. Bytes. The names of a thousand components, each as long as it may be, fit.
pub(super) const LONGEST_BODY: usize = 64 << 10;

/// So many connections are open at once: all the followers and waiting commands that there may be, and some that
/// are just asking. When one more comes, another one is cut off for it (see `table`).
pub(super) const MOST_CONNECTIONS: usize = 256;

/// So many streams are followed, or logs asked for, at once: some for each terminal of a user.
pub(super) const MOST_FOLLOWERS: usize = 64;

/// So many logs are read at once, for all streams together: each takes two descriptors, and components must
/// get theirs. So that is half of what orch may have open, however many ask.
pub(super) fn most_logs() -> usize {
    let open = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let logs = usize::try_from(open.unwrap_or(u64::MAX) / 4).unwrap_or(usize::MAX);
    logs.min(MOST_LOGS)
}

/// And no more than that, for each takes memory, too.
const MOST_LOGS: usize = 1 << 16;

/// So many commands are awaited at once: a script that gives one to each of its components still gets through.
pub(super) const MOST_COMMANDS: usize = 128;

/// So many bytes of answers that nobody takes are kept. An answer about 5,000 components has two million.
pub(super) const MOST_UNSENT: usize = 32 << 20;

/// A client that takes nothing of its answer for so long is cut off: a pager that somebody has left open for
/// longer can ask again.
pub(super) const TAKING_TIME: Duration = Duration::from_secs(30);

/// So much of a stream is read at once, and held for a client until it takes it. Bytes.
pub(super) const CHUNK: usize = 64 << 10;

/// So many threads read files at once, for all streams and plans: each is at it for less than a millisecond, and
/// a dead disk takes no more than these.
pub(super) const MOST_READERS: usize = 8;

/// So many of them for streams: whoever asks how things are waits for no search through all logs.
pub(super) const MOST_STREAM_READERS: usize = 6;

/// Whoever is refused before it has said all it had to say is listened to for so long, and nothing is made of it:
/// one that is closed on while it speaks never hears why.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// So long those who have asked may take to get their answers when orch ends.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// When nobody can be let in (all descriptors are used up), it is tried again after so long, then twice as long,
/// up to the second.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);
