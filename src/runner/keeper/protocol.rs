//! What orch and its keeper say to each other.

use std::ffi::CString;

use crate::types::{Exit, Signal, UnitId};

use super::super::{RunnerReport, Scope};
use super::wire::{Malformed, Reader, Writer};

/// orch to keeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// Start a unit's leader. Beside it: stdin where `stdin`, the output, then the extra descriptors.
    Spawn(Launch),
    /// Send a signal.
    Signal { unit: UnitId, signal: i32, scope: Scope },
    /// End the unit.
    Kill { unit: UnitId },
    /// Let this process of the unit be its main process.
    Main { unit: UnitId, pid: u32 },
    /// Hold the descriptors beside it open until the end, in place of those held before.
    Hold,
    /// End everything, tell what was left, and go.
    Shutdown,
}

/// What is needed to start a leader, ready for the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Launch {
    pub(super) unit: UnitId,
    pub(super) program: CString,
    pub(super) argv: Vec<CString>,
    /// `NAME=value`.
    pub(super) env: Vec<CString>,
    pub(super) cwd: CString,
    pub(super) stdin: bool,
    /// The soft limit on open files that the leader gets.
    pub(super) open_files: u64,
}

/// Keeper to orch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A report that concerns a unit.
    Report(RunnerReport),
    /// A stray, with its start time for a sure identity.
    Stray { pid: u32, start: u64, command: String },
    /// The answer to a shutdown, the last word: who was killed at the end.
    Drained(Vec<Leftover>),
}

/// A process that was still there at the end, and was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its process id.
    pub pid: u32,
    /// Its command name.
    pub command: String,
}

/// The first byte of a packet that says that its request travels in a memfd beside it; its unit's number follows.
const SPILLED: u8 = 0;

/// Where a packet's request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// In the packet.
    Here,
    /// In the memfd that is the first of the descriptors beside it; it spawns this unit.
    Beside(UnitId),
}

impl Body {
    /// Where the request of this packet is.
    pub(super) fn of(packet: &[u8]) -> Self {
        match packet.split_first() {
            Some((&SPILLED, unit)) => Self::Beside(UnitId(Reader::new(unit).u32().unwrap_or_default())),
            _ => Self::Here,
        }
    }
}

impl Request {
    /// The unit that it concerns.
    pub(super) fn unit(&self) -> Option<UnitId> {
        match self {
            Self::Spawn(launch) => Some(launch.unit),
            Self::Signal { unit, .. } | Self::Kill { unit } | Self::Main { unit, .. } => Some(*unit),
            Self::Hold | Self::Shutdown => None,
        }
    }

    /// The packet that says that the request itself is beside it.
    pub(super) fn spilled(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(SPILLED).u32(self.unit().map_or(0, |unit| unit.0));
        out.finish()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Spawn(launch) => {
                launch.encode(out.u8(1));
            }
            Self::Signal { unit, signal, scope } => {
                let scope = match scope {
                    Scope::Group => 0,
                    Scope::Unit => 1,
                    Scope::Escaped => 2,
                    Scope::Leader => 3,
                };
                out.u8(2).u32(unit.0).i32(*signal).u8(scope);
            }
            Self::Kill { unit } => {
                out.u8(3).u32(unit.0);
            }
            Self::Hold => {
                out.u8(4);
            }
            Self::Shutdown => {
                out.u8(5);
            }
            Self::Main { unit, pid } => {
                out.u8(6).u32(unit.0).u32(*pid);
            }
        }
        out.finish()
    }

    pub(super) fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(packet);
        let request = match input.u8()? {
            1 => Self::Spawn(Launch::decode(&mut input)?),
            2 => {
                let (unit, signal) = (UnitId(input.u32()?), input.i32()?);
                let scope = match input.u8()? {
                    0 => Scope::Group,
                    1 => Scope::Unit,
                    2 => Scope::Escaped,
                    3 => Scope::Leader,
                    _ => return Err(Malformed),
                };
                Self::Signal { unit, signal, scope }
            }
            3 => Self::Kill { unit: UnitId(input.u32()?) },
            4 => Self::Hold,
            5 => Self::Shutdown,
            6 => Self::Main { unit: UnitId(input.u32()?), pid: input.u32()? },
            _ => return Err(Malformed),
        };
        if input.is_empty() { Ok(request) } else { Err(Malformed) }
    }
}

impl Launch {
    fn encode(&self, out: &mut Writer) {
        out.u32(self.unit.0).u8(u8::from(self.stdin)).u64(self.open_files);
        out.bytes(self.program.as_bytes()).bytes(self.cwd.as_bytes());
        for list in [&self.argv, &self.env] {
            out.u32(u32::try_from(list.len()).unwrap_or(u32::MAX));
            for item in list {
                out.bytes(item.as_bytes());
            }
        }
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let text = |input: &mut Reader<'_>| CString::new(input.bytes()?).map_err(|_| Malformed);
        Ok(Self {
            unit: UnitId(input.u32()?),
            stdin: input.u8()? != 0,
            open_files: input.u64()?,
            program: text(input)?,
            cwd: text(input)?,
            argv: input.list(text)?,
            env: input.list(text)?,
        })
    }
}

impl Event {
    /// Appends the event; a packet holds any number of them.
    pub(super) fn encode(&self, out: &mut Writer) {
        match self {
            Self::Report(report) => encode_report(report, out),
            Self::Stray { pid, start, command } => {
                out.u8(6).u32(*pid).u64(*start).bytes(command.as_bytes());
            }
            Self::Drained(left) => {
                out.u8(7).u32(u32::try_from(left.len()).unwrap_or(u32::MAX));
                for it in left {
                    out.u32(it.pid).bytes(it.command.as_bytes());
                }
            }
        }
    }

    pub(super) fn decode_all(packet: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut input = Reader::new(packet);
        let mut all = Vec::new();
        while !input.is_empty() {
            all.push(Self::decode(&mut input)?);
        }
        Ok(all)
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = input.u8()?;
        if kind == 6 {
            return Ok(Self::Stray { pid: input.u32()?, start: input.u64()?, command: input.text()? });
        }
        if kind == 7 {
            let left = input.list(|it| Ok(Leftover { pid: it.u32()?, command: it.text()? }))?;
            return Ok(Self::Drained(left));
        }
        let unit = UnitId(input.u32()?);
        Ok(Self::Report(match kind {
            1 => RunnerReport::Spawned { unit, pid: Some(input.u32()?) },
            2 => RunnerReport::SpawnFailed { unit, error: input.text()? },
            3 => RunnerReport::Exited { unit, exit: decode_exit(input)? },
            4 => RunnerReport::Gone { unit },
            5 => RunnerReport::Killed { unit, pids: input.list(Reader::u32)? },
            8 => RunnerReport::Main { unit, pid: input.u32()?, accepted: input.u8()? != 0 },
            _ => return Err(Malformed),
        }))
    }
}

fn encode_report(report: &RunnerReport, out: &mut Writer) {
    match report {
        RunnerReport::Spawned { unit, pid } => out.u8(1).u32(unit.0).u32(pid.unwrap_or(0)),
        RunnerReport::SpawnFailed { unit, error } => out.u8(2).u32(unit.0).bytes(error.as_bytes()),
        RunnerReport::Exited { unit, exit } => match exit {
            Exit::Signal(signal) => out.u8(3).u32(unit.0).u8(1).i32(signal.number()),
            Exit::Code(code) => out.u8(3).u32(unit.0).u8(0).i32(*code),
            Exit::Panic(_) => out,
        },
        RunnerReport::Gone { unit } => out.u8(4).u32(unit.0),
        RunnerReport::Main { unit, pid, accepted } => out.u8(8).u32(unit.0).u32(*pid).u8(u8::from(*accepted)),
        RunnerReport::Killed { unit, pids } => {
            out.u8(5).u32(unit.0).u32(u32::try_from(pids.len()).unwrap_or(u32::MAX));
            pids.iter().fold(out, |out, pid| out.u32(*pid))
        }
        // A keeper says nothing of threads, and its own death is not its to tell.
        RunnerReport::Unkillable { .. }
        | RunnerReport::Ready { .. }
        | RunnerReport::Status { .. }
        | RunnerReport::Stray { .. }
        | RunnerReport::Lost { .. }
        | RunnerReport::KeeperLost => out,
    };
}

fn decode_exit(input: &mut Reader<'_>) -> Result<Exit, Malformed> {
    let (killed, number) = (input.u8()? != 0, input.i32()?);
    if killed {
        Signal::from_number(number).map(Exit::Signal).ok_or(Malformed)
    } else {
        Ok(Exit::Code(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch() -> Launch {
        let text = |text: &str| CString::new(text).unwrap();
        Launch {
            unit: UnitId(7),
            program: text("/bin/sh"),
            argv: vec![text("sh"), text("-c"), text("")],
            env: vec![text("A=b"), text("E=")],
            cwd: text("/tmp"),
            stdin: true,
            open_files: 1024,
        }
    }

    fn requests() -> Vec<Request> {
        let unit = UnitId(u32::MAX);
        vec![
            Request::Spawn(launch()),
            Request::Signal { unit, signal: 64, scope: Scope::Escaped },
            Request::Kill { unit },
            Request::Main { unit, pid: 7 },
            Request::Hold,
            Request::Shutdown,
        ]
    }

    fn events() -> Vec<Event> {
        let unit = UnitId(3);
        let command = "sh (x)".to_owned();
        vec![
            Event::Report(RunnerReport::Spawned { unit, pid: Some(12) }),
            Event::Report(RunnerReport::SpawnFailed { unit, error: "can't".into() }),
            Event::Report(RunnerReport::Exited { unit, exit: Exit::Code(-1) }),
            Event::Report(RunnerReport::Exited { unit, exit: Exit::Signal(Signal::KILL) }),
            Event::Report(RunnerReport::Killed { unit, pids: vec![1, 2, 3] }),
            Event::Report(RunnerReport::Gone { unit }),
            Event::Report(RunnerReport::Main { unit, pid: 5, accepted: true }),
            Event::Stray { pid: 9, start: 1 << 40, command: command.clone() },
            Event::Drained(vec![Leftover { pid: 4, command }]),
        ]
    }

    #[test]
    fn what_is_sent_is_what_arrives() {
        for request in requests() {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        let mut out = Writer::default();
        for event in events() {
            event.encode(&mut out);
        }
        assert_eq!(Event::decode_all(&out.finish()), Ok(events()));
    }

    #[test]
    fn a_cut_or_wrong_packet_is_refused_and_never_panics() {
        for whole in requests().iter().map(Request::encode) {
            for length in 0..whole.len() {
                assert_eq!(Request::decode(&whole[..length]), Err(Malformed));
            }
        }
        // A list that claims four billion items.
        assert_eq!(Event::decode_all(&[7, 255, 255, 255, 255]), Err(Malformed));
        assert_eq!(Event::decode_all(&[99, 0, 0, 0, 0]), Err(Malformed));
    }
}
