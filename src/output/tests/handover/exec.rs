//! The test binary in the part of orch: it puts itself in its own place, over and over, while others print.

use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};

use super::*;

const FOLDER: &str = "ORCH_TEST_IMAGE_FOLDER";
const IMAGES: u32 = 20;
const PRINTERS: u32 = 4;
/// Written by a thread of the first image, which ends with it.
const THREAD: u32 = 9;

/// What one image leaves to the next.
#[derive(Serialize, Deserialize)]
struct Left {
    image: u32,
    pid: u32,
    handover: OutputHandover,
    fds: Vec<RawFd>,
}

#[test]
fn through_a_real_exec_every_byte_and_every_line_comes_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut image = Command::new(std::env::current_exe().unwrap());
    image.args(["--exact", "output::tests::handover::exec::image", "--ignored", "--nocapture"]);
    image.env(FOLDER, folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let ended = image.spawn().unwrap().wait_with_output().unwrap();
    let shown = String::from_utf8(ended.stderr).unwrap();
    let other: Vec<&str> = shown.lines().filter(|line| !line.contains(" line ")).collect();
    assert!(ended.status.success(), "{other:#?}");
    let reports = fs::read_to_string(folder.path().join("reports")).unwrap();
    for unit in (0..PRINTERS).chain([THREAD]) {
        let log = String::from_utf8(whole_log(&folder.path().join(format!("{unit}.log")))).unwrap();
        let expected: String = match unit {
            THREAD => "from a thread\nno end".to_owned(),
            _ => (0..log.lines().count()).map(|number| format!("{unit} line {number}\n")).collect(),
        };
        assert!(log == expected && log.len() > 10, "the log of {unit}");
        let own = format!("{unit} | ");
        let shown: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix(&own)).collect();
        let differs = shown.iter().zip(log.lines()).find(|(shown, line)| *shown != line);
        assert_eq!((differs, shown.len()), (None, log.lines().count()), "shown of {unit}");
        let report = format!("{:?}\n", OutputReport::Ended { unit: UnitId(unit) });
        assert_eq!(reports.matches(&report).count(), 1, "{reports}");
    }
    let said: Vec<&str> = shown.lines().filter(|line| line.starts_with("image ")).collect();
    assert_eq!(said, (0..=IMAGES).map(|image| format!("image {image}")).collect::<Vec<_>>());
    assert_eq!(reports.lines().count(), 5, "nothing else was reported: {reports}");
}

#[test]
#[ignore = "one image of `through_a_real_exec_every_byte_and_every_line_comes_once`"]
fn image() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let file = folder.join("left");
    let terminal = || rustix::stdio::stderr().try_clone_to_owned().unwrap();
    let terminal = Terminal { stdout: terminal(), stderr: terminal() };
    let reports = File::options().append(true).create(true).open(folder.join("reports")).unwrap();
    let sink: ReportSink = Arc::new(move |report| writeln!(&reports, "{report:?}").unwrap());
    let (output, image) = match fs::read(&file) {
        Ok(left) => {
            let left: Left = serde_json::from_slice(&left).unwrap();
            assert_eq!(left.pid, std::process::id());
            // SAFETY: the image before this one has left them open, for nobody else.
            let fds = left.fds.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) });
            let fds: Vec<OwnedFd> = fds.inspect(|fd| fcntl_setfd(fd, FdFlags::CLOEXEC).unwrap()).collect();
            let output = Output::adopt(OutputConfig::default(), terminal, sink, left.handover, fds);
            (output.unwrap(), left.image)
        }
        Err(_) => (begin(&folder, terminal, sink), 0),
    };
    output.say(&format!("image {image}"));
    let size = || fs::metadata(folder.join("0.log")).map_or(0, |log| log.len());
    let before = size();
    eventually("more output", || size() != before);
    if image < IMAGES {
        let (handover, fds) = output.hand_over(Duration::ZERO).unwrap();
        let open = |fd: OwnedFd| fcntl_setfd(&fd, FdFlags::empty()).map(|()| fd.into_raw_fd()).unwrap();
        let fds = fds.into_iter().map(open).collect();
        let left = Left { image: image + 1, pid: std::process::id(), handover, fds };
        fs::write(&file, serde_json::to_vec(&left).unwrap()).unwrap();
        let error = Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).exec();
        panic!("{error}");
    }
    File::create(folder.join("stop")).unwrap();
    let ended = || fs::read_to_string(folder.join("reports")).unwrap().matches("Ended").count();
    eventually("the end", || ended() == 5);
    assert!(output.finish(LIMIT));
}

#[expect(clippy::zombie_processes, reason = "the image that started them is not there any more")]
fn begin(folder: &Path, terminal: Terminal, sink: ReportSink) -> Output {
    let output = Output::start(OutputConfig::default(), terminal, sink).unwrap();
    let spec = |unit: u32| {
        let path = folder.join(format!("{unit}.log"));
        let log = Some(LogSpec { path, max_size: 50_000, keep: 100_000, overflow: Overflow::Block });
        StreamSpec { log, ..shown(&unit.to_string()) }
    };
    for unit in 0..PRINTERS {
        // Now and then it rests, lest the terminal fall behind: what is left out there is not the question.
        let script = "i=0; while [ ! -e \"$1/stop\" ]; do echo \"$0 line $i\"; i=$((i+1));
            [ $((i % 100)) -gt 0 ] || sleep 0.01; done";
        let mut printer = Command::new("/bin/sh");
        printer
            .args(["-c", script, &unit.to_string()])
            .arg(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        printer.stdout(output.open(UnitId(unit), spec(unit)).unwrap()).spawn().unwrap();
    }
    let mut own = File::from(output.open(UnitId(THREAD), spec(THREAD)).unwrap());
    thread::spawn(move || {
        own.write_all(b"from a thread\nno end").unwrap();
        loop {
            thread::park();
        }
    });
    output
}
