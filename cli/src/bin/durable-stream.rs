//! The command `durable-stream`: the official command line's name for the same program.

fn main() -> std::process::ExitCode {
    everstream_cli::main()
}
