//! Random misbehaviour of several sources, without a network.

use super::*;
use crate::progress::{Event, Silent};
use crate::source::{Body, ByteRange, Kind, SourceError, Trouble};
use proptest::prelude::*;
use std::io::{self, Cursor, Read};
use std::sync::Mutex;

/// One way to answer; offsets are taken modulo what is there.
#[derive(Debug, Clone)]
enum Act {
    Honest,
    Cut(usize),
    Break(usize),
    Flip(usize),
    WholeFile,
    WrongStart,
    Other(Vec<u8>),
    Longer,
    NotFound,
    Transient,
    Range,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Honest),
        3 => any::<usize>().prop_map(Act::Cut),
        2 => any::<usize>().prop_map(Act::Break),
        3 => any::<usize>().prop_map(Act::Flip),
        1 => Just(Act::WholeFile),
        1 => Just(Act::WrongStart),
        1 => proptest::collection::vec(any::<u8>(), 0..50).prop_map(Act::Other),
        1 => Just(Act::Longer),
        1 => Just(Act::NotFound),
        1 => Just(Act::Transient),
        1 => Just(Act::Range),
    ]
}

/// Answers by its acts, over and over.
struct Fickle {
    bytes: Vec<u8>,
    acts: Vec<Act>,
    turn: Mutex<usize>,
}

/// Gives an error where the bytes end.
struct Breaking(Cursor<Vec<u8>>);

impl Read for Breaking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            read => Ok(read),
        }
    }
}

impl Source for Fickle {
    fn open(&self, name: &str, range: Option<ByteRange>, _: Kind) -> Result<Body, SourceError> {
        let mut turn = self.turn.lock().unwrap();
        let act = self.acts[*turn % self.acts.len()].clone();
        *turn += 1;
        let asked = range.map_or(0, |range| range.start);
        let mut start = if matches!(act, Act::WholeFile) { 0 } else { asked as usize };
        let mut bytes = self.bytes.clone();
        let transient = |trouble| Err(SourceError::transient(name, "fickle", trouble));
        match &act {
            Act::Flip(at) => bytes[at % self.bytes.len()] ^= 1,
            Act::Other(other) => (bytes, start) = (other.clone(), 0),
            Act::Longer => bytes.extend([7; 100]),
            Act::WrongStart => start = (start + 3).min(bytes.len()),
            Act::NotFound => {
                let (name, site, answer) = (name.into(), "fickle".into(), "no".into());
                return Err(SourceError::NotFound { name, site, answer });
            }
            Act::Transient => return transient(Trouble::Status(500)),
            Act::Range if range.is_some() => return transient(Trouble::Range { expected: asked, actual: "x".into() }),
            _ => {}
        }
        let mut rest = bytes.split_off(start);
        if let Act::Cut(at) | Act::Break(at) = act {
            rest.truncate(at % (rest.len() + 1));
        }
        let reader = Cursor::new(rest);
        let broken = matches!(act, Act::Break(_));
        let reader: Box<dyn Read + Send> = if broken { Box::new(Breaking(reader)) } else { Box::new(reader) };
        Ok(Body { start: start as u64, length: None, reader })
    }

    fn describe(&self) -> String {
        "fickle".into()
    }
}

#[derive(Default)]
struct Sum(AtomicU64);

impl Progress for Sum {
    fn event(&self, event: Event<'_>) {
        if let Event::Advanced { bytes } = event {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

fn downloader(bytes: &[u8], scripts: &[Vec<Act>], progress: Arc<dyn Progress>) -> Downloader {
    let source = |acts: &Vec<Act>| -> Arc<dyn Source> {
        Arc::new(Fickle { bytes: bytes.to_vec(), acts: acts.clone(), turn: Mutex::default() })
    };
    let policy = RetryPolicy { timing: Arc::new(JumpingTiming::default()), ..RetryPolicy::default() };
    Downloader::new(scripts.iter().map(source).collect(), policy, Cancel::default(), progress)
}

fn scripts() -> impl Strategy<Value = Vec<Vec<Act>>> {
    proptest::collection::vec(proptest::collection::vec(act(), 1..6), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn blocks_are_right_or_absent(
        bytes in proptest::collection::vec(any::<u8>(), 1..3_000),
        scripts in scripts(),
        honest in proptest::option::of(0_usize..4),
        block in 1_usize..1_000,
    ) {
        let mut scripts = scripts;
        if let Some(place) = honest {
            scripts.insert(place.min(scripts.len()), vec![Act::Honest]);
        }
        let sum = Arc::new(Sum::default());
        let downloader = downloader(&bytes, &scripts, sum.clone());
        let mut stream = downloader.stream("packs/ab/p", 0);
        let mut arrived = Vec::new();
        for part in bytes.chunks(block) {
            match stream.next(part.len() as u64, &Blake3::of(part)) {
                Ok(read) => arrived.extend(read),
                Err(error) => {
                    prop_assert!(honest.is_none(), "{error}");
                    break;
                }
            }
        }
        prop_assert_eq!(&arrived, &bytes[..arrived.len()]);
        prop_assert!(sum.0.load(Ordering::Relaxed) >= arrived.len() as u64);
        if honest.is_some() {
            prop_assert_eq!(sum.0.load(Ordering::Relaxed), bytes.len() as u64);
        }
    }

    #[test]
    fn partial_files_are_right_or_left_to_be_continued(
        bytes in proptest::collection::vec(any::<u8>(), 1..3_000),
        scripts in scripts(),
        there in proptest::collection::vec(any::<u8>(), 0..100),
        right in any::<usize>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.part");
        let mut begun = bytes[..right % (bytes.len() + 1)].to_vec();
        begun.extend(there);
        std::fs::write(&path, &begun).unwrap();
        let digest = Blake3::of(&bytes);
        let length = bytes.len() as u64;
        let fickle = downloader(&bytes, &scripts, Arc::new(Silent));
        if fickle.exact_to_file("packs/ab/p", length, &digest, &path).is_ok() {
            prop_assert_eq!(&std::fs::read(&path).unwrap(), &bytes);
        }
        // Whatever was left behind, an honest source finishes it.
        let honest = downloader(&bytes, &[vec![Act::Honest]], Arc::new(Silent));
        prop_assert!(honest.exact_to_file("packs/ab/p", length, &digest, &path).is_ok());
        prop_assert_eq!(&std::fs::read(&path).unwrap(), &bytes);
        prop_assert!(honest.requests() <= 2);
    }
}
