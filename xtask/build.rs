//! Tells the task runner for which machine it is built.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=XTASK_HOST={}", std::env::var("TARGET").expect("cargo tells every build script"));
}
