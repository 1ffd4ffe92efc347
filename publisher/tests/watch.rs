//! A release that was staged in the background and then taken back.

#[path = "support/signing.rs"]
mod signing;
#[path = "support/world.rs"]
mod world;

use std::fs;

use lamplighter_client::trust::Idle;
use lamplighter_client::watch::{WatchEvent, WatchOptions};

use signing::change_head;
use world::{World, done};

fn one_round(world: &World) -> String {
    let mut told = String::new();
    let tell = |event: WatchEvent<'_>| match event {
        WatchEvent::Ready(prepared) => told = format!("ready {}", prepared.build),
        WatchEvent::Idle(Idle::Halted) => told = "halted".into(),
        other => told = format!("{other:?}"),
    };
    let once = WatchOptions { rounds: Some(1), ..WatchOptions::default() };
    world.open("tree").watch(&once, tell).expect("a good round");
    told
}

#[test]
fn what_is_staged_is_given_up_when_its_channel_is_halted() {
    let world = World::new();
    world.release(1, &[("app", b"one")]);
    done(world.install("tree"));
    world.release(2, &[("app", b"two")]);
    assert_eq!(one_round(&world), "ready 2");
    assert_eq!(one_round(&world), "ready 2");
    assert!(world.open("tree").prepared().expect("readable").is_some());

    change_head(&world, |head| head.halts.push("*".into()));
    assert_eq!(one_round(&world), "halted");
    assert!(world.open("tree").prepared().expect("readable").is_none(), "the next start must not commit it");

    change_head(&world, |head| head.halts.clear());
    assert_eq!(one_round(&world), "ready 2");
    world.open("tree").commit().expect("committed");
    assert_eq!(fs::read(world.path("tree/app")).expect("there"), b"two");
}
