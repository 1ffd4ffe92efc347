//! The committed header is what the source gives.
//!
//! `BLESS=1 cargo test -p lamplighter-embed --test header` writes it anew.

use std::fs;
use std::path::Path;

#[test]
fn the_committed_header_is_what_the_source_gives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("settings");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in ["types.rs", "abi.rs"] {
        builder = builder.with_src(root.join("src").join(source));
    }
    let mut made = Vec::new();
    builder.generate().expect("a header").write(&mut made);
    let made = String::from_utf8(made).expect("text");
    let committed = root.join("include/lamplighter.h");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&committed, &made).expect("written");
    }
    let held = fs::read_to_string(&committed).expect("the header").replace("\r\n", "\n");
    assert!(held == made, "include/lamplighter.h is not what the source gives; run the test with BLESS=1");
}
