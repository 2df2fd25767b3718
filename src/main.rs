//! The `orch` binary: everything it does is in the library.

fn main() -> std::process::ExitCode {
    orch::cli::main()
}
