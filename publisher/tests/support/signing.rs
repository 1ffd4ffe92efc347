//! Documents signed anew with a world's keys.

#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::path::Path;

use lamplighter_client::format::head::{HEAD_BYTES_MAX, Head};
use lamplighter_client::format::signed::SignedDocument;
use lamplighter_client::format::text::Time;
use lamplighter_publisher::sign::{Role, Signers};

use super::world::{World, write};

/// Where the head of the channel lies.
pub const HEAD: &str = "channels/stable.head";

/// Signs `body` with the world's keys of `role`.
pub fn sign(world: &World, role: Role, body: Vec<u8>) -> Vec<u8> {
    let signers = Signers::load(role, Some(&world.path("keys"))).expect("keys");
    signers.sign(body, "test", Time::now()).expect("signed").to_bytes()
}

/// What is signed in a document of at most `cap_bytes`.
pub fn body_of(path: &Path, cap_bytes: u64) -> Vec<u8> {
    SignedDocument::split(&fs::read(path).expect("there"), cap_bytes).expect("signed").body
}

/// Signs the head of the channel anew, changed.
pub fn change_head(world: &World, change: impl FnOnce(&mut Head)) {
    change_head_and_text(world, change, |text| text);
}

/// The same, with a last change to its text.
pub fn change_head_and_text(world: &World, change: impl FnOnce(&mut Head), edit: impl FnOnce(String) -> String) {
    let path = world.site().join(HEAD);
    let mut head = Head::parse(&body_of(&path, HEAD_BYTES_MAX)).expect("a head");
    head.sequence += 1;
    change(&mut head);
    let text = edit(String::from_utf8(head.to_body()).expect("text"));
    write(&path, &sign(world, Role::Channel, text.into_bytes()));
}
