//! The command `everstream`.

fn main() -> std::process::ExitCode {
    everstream_cli::main()
}
