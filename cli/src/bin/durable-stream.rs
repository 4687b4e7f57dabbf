//! The command `durable-stream`.

fn main() -> std::process::ExitCode {
    everstream_cli::main()
}
