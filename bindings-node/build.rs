//! Links the add-on.

fn main() {
    napi_build::setup();
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // Node unloads an add-on when the last worker that loaded it ends; the threads of its runtime live on.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
