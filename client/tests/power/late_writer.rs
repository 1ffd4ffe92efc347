//! A program that holds an old file open and writes to it, while the tree is changed and the power goes.

use super::*;

/// A program that opened a file before the commit, and writes to it when so many new contents were placed.
struct LateWriter {
    machine: Arc<Machine>,
    file: u64,
    left: AtomicUsize,
}

impl Progress for LateWriter {
    fn event(&self, event: Event<'_>) {
        if let Event::Advanced { .. } = event
            && self.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.machine.write_over(self.file, USERS.as_bytes());
        }
    }
}

/// What was written to an old content while the tree changed, which has only the name it was held by then, is never lost: by no cut
/// in the commit or in undoing it, whichever change fails, and by none in the recovery after it.
#[test]
fn what_a_program_writes_to_an_old_file_outlasts_any_cut() {
    let scenarios: Vec<Scenario> = small().into_iter().filter(|one| one.name == "replace, add, remove").collect();
    let [scenario] = &scenarios[..] else { panic!("another name") };
    // Before the old name is taken away, and after; the last contents are those of the record.
    let writers: Vec<(&str, usize)> = changed_files(scenario).flat_map(|name| [1, 2, 3].map(|n| (name, n))).collect();
    let tried = in_two_threads(&writers, |writer| alone(|| cut_with_a_late_writer(scenario, *writer)));
    println!("{tried:?} disks with a late edit");
    assert!(tried.iter().all(|tried| *tried > 200), "{tried:?}");
}

/// How many disks were left to the recovery once `name` had been written to, when so many contents were placed.
fn cut_with_a_late_writer(scenario: &Scenario, (name, placed): (&str, usize)) -> usize {
    let mut seen = HashSet::new();
    let path = RelPath::parse(name).expect("legal");
    for fails in 0.. {
        let machine = Machine::start(scenario.disk.clone());
        let lock = machine.tree().lock(Duration::ZERO).expect("free");
        let (file, left) = (machine.open(&path), AtomicUsize::new(placed));
        let writer = LateWriter { machine: machine.clone(), file, left };
        machine.note();
        machine.fail_after(fails);
        let _ = tree::commit_with(&lock, &scenario.old, &scenario.new, &writer);
        let mut moments = machine.noted();
        let has_failed = moments.len() as u64 > fails;
        moments.push(machine.disk());
        if machine.failed() == Some("link") {
            // As where there are none: the program writes to another file than the one held, or a rename that arrives in part loses it.
            continue;
        }
        let is_written =
            |disk: &Disk| matches!(&disk.nodes[&file], Node::File { live, .. } if live.content == USERS.as_bytes());
        for (k, moment) in moments.iter().enumerate().filter(|(_, disk)| is_written(disk)) {
            power_cuts(moment, 8, k as u64, |disk| {
                if seen.insert(disk.identity()) {
                    expect_late_edit(scenario, &disk, name, &|| {
                        format!("{name} after {placed}, change {fails} failed, cut before {k}")
                    });
                    seen.extend(cut_again(scenario, &disk, name));
                }
            });
        }
        if !has_failed {
            return seen.len();
        }
    }
    unreachable!("at the end nothing fails")
}

/// Cuts the recovery of `disk` everywhere; the disks that were left.
fn cut_again(scenario: &Scenario, disk: &Disk, name: &str) -> HashSet<Blake3> {
    let machine = Machine::start(disk.clone());
    machine.note();
    let _ = recover(&machine.tree());
    let mut seen = HashSet::new();
    for (k, moment) in machine.noted().iter().enumerate() {
        power_cuts(moment, 2, k as u64, |disk| {
            if seen.insert(disk.identity()) {
                expect_late_edit(scenario, &disk, name, &|| format!("{name}, recovery cut before change {k}"));
            }
        });
    }
    seen
}

/// Recovery makes all else whole. Where it cannot, as the old content was written over and the power took the new one, nothing is lost.
fn expect_late_edit(scenario: &Scenario, disk: &Disk, name: &str, how: &dyn Fn() -> String) {
    let machine = Machine::start(disk.clone());
    match recover(&machine.tree()) {
        Err(TreeError::NeedsHeal { .. }) => {
            let (found, state) = (machine.disk().snapshot(Base::Tree), machine.disk().snapshot(Base::State));
            let is_there = found.values().chain(state.values()).any(|shown| shown.ends_with(USERS));
            assert!(is_there, "what was written to {name} is lost: {}: {found:?}, {state:?}", how());
        }
        recovered => {
            recovered.unwrap_or_else(|e| panic!("{}: {e}", how()));
            expect_whole_but_for(scenario, &machine.disk(), (name, Deed::Wrote), how);
        }
    }
}
