//! `logs.terminal: pty`, and standard inputs that never end.

use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::process::Signal;
use rustix::termios::{Winsize, tcsetwinsize};

use crate::harness::{Project, alive, stays, wait_for, wait_until};
use crate::output::{Terminal, without_colors};

/// A project with one component `a`, a shell script with a terminal of its own.
fn scripted(script: &str, more: &str) -> Project {
    let project = Project::new(&format!(
        "
components:
  a:
    process: [/bin/sh, ./script]
    logs: {{ terminal: pty, max_size: 64MiB }}
    {more}
"
    ));
    project.write("script", script);
    project
}

fn log(project: &Project) -> String {
    project.read(".orch/logs/a.log")
}

#[test]
fn a_component_on_a_terminal_sees_one_and_the_log_has_its_bytes_exactly() {
    let script = r#"
[ -t 1 ] && [ -t 2 ] && ! [ -t 0 ] && echo is a terminal
stty size <&1
echo "$TERM, ${NO_COLOR-unset}"
sh -c 'echo no >/dev/tty' 2>/dev/null || echo of nobody
printf '\033[31mred\033[0m\ttab\r\n50%%\r100%%\n\000\004\003\377end'
sleep 1000 </dev/null >/dev/null 2>&1 &
echo $! > child
kill -0 $PPID
"#;
    let project = scripted(script, "restart: never");
    let mut orch = project.up();
    orch.expect_exit(0);
    let expected = b"is a terminal\n24 80\nxterm-256color, unset\nof nobody\n\
        \x1b[31mred\x1b[0m\ttab\r\n50%\r100%\n\x00\x04\x03\xffend";
    let found = std::fs::read(project.path(".orch/logs/a.log")).unwrap();
    assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(expected));
    assert_eq!(found, expected);
    let child = project.read("child").trim().parse().unwrap();
    assert!(!alive(child), "the rest of the unit is ended as ever");
    let shown = project.run(&["logs", "a"]);
    assert_eq!(
        shown.stdout,
        [&expected[..], b"\n"].concat()[..shown.stdout.len()],
        "orch logs is exact, too"
    );
}

#[test]
fn a_terminal_of_its_own_is_as_large_as_what_is_left_of_orchs_and_follows_it() {
    let script = "trap 'stty size <&1' WINCH\nstty size <&1\nwhile :; do sleep 0.05; done\n";
    let project = scripted(script, "env: { TERM: mine }");
    let terminal = Terminal::new();
    let size = |columns, rows| {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(terminal.master.as_fd(), size).unwrap();
    };
    size(104, 30);
    let mut orch = terminal.up(&project, &[]);
    wait_until("it has said its size", || log(&project) == "30 100\n");
    size(64, 20);
    wait_until("it was told of another size", || log(&project) == "30 100\n20 60\n");
    // A new image goes on, and so does the terminal.
    assert_eq!(project.run(&["upgrade"]).status.code(), Some(0));
    size(54, 10);
    wait_until("also in a new image", || log(&project) == "30 100\n20 60\n10 50\n");
    orch.stop();
}

#[test]
fn a_flood_through_a_terminal_is_complete_and_in_order() {
    let project = scripted("seq 1 1500000\necho end >&2\n", "restart: never");
    project.up().expect_exit(0);
    let mut expected = String::new();
    (1..=1_500_000).for_each(|number| expected += &format!("{number}\n"));
    expected += "end\n";
    assert!(expected.len() > 10 << 20);
    assert!(log(&project) == expected, "{} of {} bytes", log(&project).len(), expected.len());
}

#[test]
fn a_unit_on_a_terminal_stops_as_any_other() {
    // A child that holds the terminal and does not listen, in a session of its own.
    let script = "trap 'echo bye; exit 0' TERM\nsetsid sh -c 'trap \"\" TERM HUP; echo $$ > child; sleep 1000' &\n\
                  echo up\nwhile :; do sleep 0.05; done\n";
    let project = scripted(script, "stop: { timeout: 500ms }\n    ready: { log: up }");
    let mut orch = project.up();
    project.wait_told_ready("a", 1);
    let child = wait_for("the child's id", || project.read("child").trim().parse().ok());
    orch.stop();
    assert!(!alive(child));
    // The shell may tell of the command that got the signal with it.
    assert!(log(&project).starts_with("up\n") && log(&project).ends_with("bye\n"), "{}", log(&project));
    project.wait_gone();
}

#[test]
fn a_terminal_outlives_an_image_of_orch() {
    let script = "trap 'echo got; ' USR1\necho up; echo $$ > leader\nprintf unfin\n\
                  until [ -e go ]; do sleep 0.02; done\nprintf 'ished\\n'\n[ -t 1 ] && echo still\nexec sleep 1000\n";
    let project = scripted(script, "ready: { log: ^up$ }");
    let mut orch = project.up();
    project.wait_told_ready("a", 1);
    let leader: u32 = project.read("leader").trim().parse().unwrap();
    for _ in 0..3 {
        assert_eq!(project.run(&["upgrade"]).status.code(), Some(0));
    }
    project.write("go", "");
    wait_until("it goes on", || log(&project) == "up\nunfinished\nstill\n");
    assert!(alive(leader));
    assert_eq!(project.state_of("a"), ("ready".to_owned(), 1));
    // What is restarted then has a terminal, too.
    assert_eq!(project.run(&["restart", "a"]).status.code(), Some(0));
    assert_eq!(log(&project), "up\nunfinished\nstill\n".to_owned() + "up\nunfinished\nstill\n");
    orch.stop();
}

#[test]
fn a_probe_hears_lines_on_a_terminal_without_their_colours() {
    let script = "printf '\\033[32mlistening\\033[0m on 80\\r\\n'\nexec sleep 1000\n";
    let project = scripted(script, "ready: { log: '^listening on 80$', timeout: 20s }");
    let mut orch = project.up();
    project.wait_told_ready("a", 1);
    orch.stop();
}

#[test]
fn another_kind_of_output_is_a_restart() {
    let project = scripted("[ -t 1 ] && echo tty || echo pipe\nexec sleep 1000\n", "ready: { log: . }");
    let mut orch = project.up();
    project.wait_told_ready("a", 1);
    let yaml = project.read("devmode.yaml").replace("pty", "pipe");
    project.save("devmode.yaml", &yaml);
    project.wait_told_ready("a", 2);
    project.save("devmode.yaml", yaml.replace("terminal: pipe", "terminal: pty"));
    project.wait_told_ready("a", 3);
    orch.stop();
    assert_eq!(log(&project), "tty\npipe\ntty\n");
}

#[test]
fn what_is_drawn_is_shown_as_lines_and_harms_nothing() {
    let script = "
for step in 1 2 3 4 5 6 7 8 9; do printf '\\r\\033[K%s0%% done' $step; sleep 0.02; done
printf '\\r\\033[K\\033[32mFinished\\033[0m\\n'
printf 'b | forged\\rover\\n'
printf 'title \\033]0;owned\\007 clipboard \\033]52;c;x\\007 \\033[2J\\033[1;1H\\033[?1049h moved\\n'
printf 'end\\n'
exec sleep 1000
";
    let project = scripted(script, "ready: { log: ^end }");
    let terminal = Terminal::new();
    let mut orch = terminal.up(&project, &[]);
    wait_until("all is shown", || terminal.shown().contains("end"));
    orch.stop();
    let shown = without_colors(&terminal.shown()).replace("\r\n", "\n");
    assert!(terminal.shown().contains("\x1b[32mFinished"), "{shown:?}");
    let harmful = shown.chars().find(|c| c.is_control() && !"\n\t".contains(*c));
    assert_eq!(harmful, None, "{shown:?}");
    let of_a: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("a | ")).collect();
    assert!(of_a.len() <= 8 && of_a.contains(&"Finished") && of_a.contains(&"end"), "{of_a:?}");
    assert!(!of_a.contains(&"10% done"), "{of_a:?}");
    assert!(log(&project).contains("\r\x1b[K10% done\r\x1b[K20% done"), "the log has all of it");
}

// ── Standard input ─────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn an_open_standard_input_never_ends_and_a_closed_one_has_ended() {
    let project = Project::new(
        "
components:
  reads: { process: [/bin/sh, -c, 'cat; echo ended'], stdin: open }
  null: { process: [/bin/sh, -c, 'cat; echo ended'], restart: never }
  drawn: { process: [/bin/sh, -c, '[ -t 0 ] || cat; echo ended'], stdin: open, logs: { terminal: pty } }
",
    );
    let mut orch = project.up();
    project.wait_state("null", "completed");
    for name in ["reads", "drawn"] {
        project.wait_told_ready(name, 1);
    }
    for _ in 0..2 {
        assert_eq!(project.run(&["upgrade"]).status.code(), Some(0));
    }
    stays("they read on", Duration::from_millis(300), || {
        ["reads", "drawn"].iter().all(|name| project.state_of(name) == ("ready".to_owned(), 1))
    });
    assert_eq!(project.read(".orch/logs/null.log"), "ended\n");
    assert_eq!(project.read(".orch/logs/reads.log") + &project.read(".orch/logs/drawn.log"), "");
    // It ends with orch: nobody reads on who is not there any more.
    orch.signal(Signal::TERM);
    orch.expect_exit(0);
}

/// What was drawn over is shown as it ended, wherever it is shown; the log has every byte.
#[test]
fn a_log_that_was_drawn_is_shown_as_up_shows_it() {
    let project = Project::new(
        "
components:
  a:
    process: { shell: 'printf \"10%%\\r\\033[K20%%\\r\\033[Kdone\\n\"; exec ./faulty' }
    logs: { terminal: pty }
    ready: { log: done }
  b: { process: './faulty say hello', ready: { log: hello } }
",
    );
    let mut orch = project.up();
    project.wait_ready("a", 1);
    project.wait_ready("b", 1);
    let shown = |args: &[&str]| String::from_utf8(project.run(args).stdout).unwrap();
    wait_until("orch up shows it", || project.read("stdout").contains("a | done\n"));
    let both = shown(&["logs"]);
    assert!(both.contains("a | done\n") && both.contains("b | hello\n") && !both.contains('\r'), "{both:?}");
    assert_eq!(shown(&["logs", "a"]), "10%\r\u{1b}[K20%\r\u{1b}[Kdone\n", "the bytes of one, exactly");
    orch.stop();
    assert_eq!(shown(&["logs"]), both, "as it was recorded");
}
