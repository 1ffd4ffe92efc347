//! Gives the library for macOS a name that other programs find it by: beside them, not where it was built.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_VENDOR").as_deref() == Ok("apple") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/liblamplighter.dylib");
    }
}
