//! Recovery: finishes or undoes a transaction that was cut off. Needs no network, and may be cut off itself.

use rayon::prelude::*;

use super::apply::{self, Known, Run};
use super::decide::{Current, Direction, Facts, decide, lacks_to_go_back, salvage};
use super::error::TreeError;
use super::fs::{self, FsError, Place};
use super::order::Side;
use super::scan::{self, Depth, Finding, Observed};
use super::transaction::CommitReport;
use super::{Tree, TreeLock, layout, previous};
use crate::format::journal::{Backup, JOURNAL_BYTES_MAX, Journal, JournalError, JournalOp, Thing};
use crate::format::manifest::Manifest;
use crate::progress::{Cancel, Silent};

/// What recovery did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// No transaction was in flight.
    Nothing,
    /// The tree is the new one.
    RolledForward(CommitReport),
    /// The tree is the old one.
    RolledBack(CommitReport),
}

/// Most missing contents that an error names.
const NAMED_MAX: usize = 5;

/// EIO, and what Windows says of a checksum, a sector, a read, a device, a file or a disk that is damaged.
const DEVICE_ERRORS: &[i32] = if cfg!(windows) { &[23, 27, 30, 1117, 1392, 1393] } else { &[5] };

/// What is wrong with a tree whose transaction was given up.
const GIVEN_UP: &str = "an update could be neither finished nor undone, and nothing has made the files whole since";

impl TreeLock {
    /// Finishes a transaction that was cut off if every new content is at hand, else undoes it.
    ///
    /// What lies at a path is told by its BLAKE3 alone: after a power cut a file may have its size and time and hold
    /// nothing. What was staged or held and the device cannot read counts as lost.
    ///
    /// # Errors
    /// [`TreeError::NeedsHeal`] if neither tree can be put together, which takes damage to the medium: the tree is as it
    /// was then, and [`TreeLock::abandon`] puts the journal away; and after that, until [`TreeLock::healed`]. A journal
    /// this client is too old for. What the system says.
    pub fn recover(&self) -> Result<Recovery, TreeError> {
        let fs = self.fs();
        let journal = fs::read_small(fs, &layout::journal(), JOURNAL_BYTES_MAX)?;
        let given_up = fs.metadata(&layout::journal_abandoned())?.is_some();
        if journal.is_none() && !given_up && !apply::has_leftovers(fs)? {
            return Ok(Recovery::Nothing);
        }
        // A journal, or its absence, that only this run of the machine knows of must not be acted on.
        fs.sync_dir(&Place::state_root())?;
        let recovered = match journal {
            None if given_up => Recovery::Nothing,
            None => {
                apply::clean_leftovers(self)?;
                Recovery::Nothing
            }
            Some(bytes) => self.recover_by(&bytes)?,
        };
        match recovered {
            // It healed the tree.
            Recovery::RolledForward(_) => Ok(recovered),
            _ if given_up => Err(TreeError::NeedsHeal { problems: vec![GIVEN_UP.into()] }),
            _ => Ok(recovered),
        }
    }

    fn recover_by(&self, journal: &[u8]) -> Result<Recovery, TreeError> {
        match Journal::parse(journal) {
            Ok(journal) => self.follow(&journal),
            // It was never written whole, so nothing that it says was done.
            Err(JournalError::Trailer) => {
                self.expect_old_tree()?;
                apply::finish(self.fs())?;
                apply::clean_leftovers(self)?;
                Ok(Recovery::Nothing)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn follow(&self, journal: &Journal) -> Result<Recovery, TreeError> {
        let known = classify(self, journal)?;
        let facts: Vec<Facts> = known.iter().map(|k| k.facts).collect();
        match decide(&journal.ops, &facts) {
            Direction::Forward => match run_known(self, journal, Side::After, known) {
                Ok(report) => Ok(Recovery::RolledForward(report)),
                // What keeps new contents out need not keep old ones out.
                Err(cause) => match turn_back(self, journal) {
                    Ok(report) => Ok(Recovery::RolledBack(report)),
                    Err(undoing) => Err(TreeError::CutOff { cause: Box::new(cause), undoing: Box::new(undoing) }),
                },
            },
            Direction::Back => run_known(self, journal, Side::Before, known).map(Recovery::RolledBack),
            Direction::Neither(ops) => Err(needs_heal(journal, &ops, "neither old nor new")),
        }
    }

    /// Gives up a transaction that cannot be recovered, so that the tree can be healed: leads it as far as it goes to the side
    /// that lacks less, then puts the journal away. What the update brought and that side does not list is gone then, so
    /// nobody takes it for the user's; what cannot be had stays as it is. What the user had in the way stays in `kept/`.
    /// Until [`TreeLock::healed`] says that it is whole [`TreeLock::recover`] refuses the tree.
    ///
    /// # Errors
    /// What the system says; the next call goes on.
    pub fn abandon(&self) -> Result<Recovery, TreeError> {
        if !self.is_in_transaction()? {
            return Ok(Recovery::Nothing);
        }
        // First, as what is set aside on the way would let recovery pass damage for the user's.
        let journal = fs::read_small(self.fs(), &layout::journal(), JOURNAL_BYTES_MAX)?.unwrap_or_default();
        fs::replace_file(self.fs(), &layout::journal_abandoned(), &layout::journal_spare(), &journal)?;
        let led = self.lead_as_far_as_it_goes()?;
        self.fs().remove_file(&layout::journal())?;
        self.fs().sync_dir(&Place::state_root())?;
        Ok(led)
    }

    /// Takes note that every file is as recorded again after a transaction was given up. After a crash it is noted, or not.
    ///
    /// # Errors
    /// What the system says.
    pub fn healed(&self) -> Result<(), TreeError> {
        if self.fs().metadata(&layout::journal_abandoned())?.is_some() {
            self.fs().remove_file(&layout::journal_abandoned())?;
        }
        Ok(self.fs().sync_dir(&Place::state_root())?)
    }

    fn lead_as_far_as_it_goes(&self) -> Result<Recovery, TreeError> {
        let journal = fs::read_small(self.fs(), &layout::journal(), JOURNAL_BYTES_MAX)?;
        // One that was never written whole says nothing of what was done.
        let Some(journal) = journal.and_then(|bytes| Journal::parse(&bytes).ok()) else { return Ok(Recovery::Nothing) };
        let known = classify(self, &journal)?;
        let facts: Vec<Facts> = known.iter().map(|k| k.facts).collect();
        let Some((side, left)) = salvage(&journal.ops, &facts) else { return Ok(Recovery::Nothing) };
        let mut report = Run::new(self, &journal, side, known, &Silent).after_another().but_for(left).run()?;
        let untouched = |op: usize| side == Side::Before && facts[op].current.is(Side::Before);
        apply::keep_late_edits(self, &journal, &[], untouched, &mut report)?;
        // What was set aside is named; it may be all that is left of a file.
        apply::settle_asides(self, &journal, Side::After, &mut report)?;
        if side == Side::Before {
            return Ok(Recovery::RolledBack(report));
        }
        previous::keep(self, &journal)?;
        Ok(Recovery::RolledForward(report))
    }

    /// Fails unless every file of the installed manifest is as it lists it.
    fn expect_old_tree(&self) -> Result<(), TreeError> {
        let Some(record) = self.record()? else { return Ok(()) };
        let manifest = Manifest::parse(&record.manifest)?;
        let rows: Vec<_> = manifest.rows().iter().collect();
        let findings = scan::check(self, &rows, Depth::Content, &Silent, &Cancel::default());
        let wrong = rows.iter().zip(&findings).filter(|(_, f)| !matches!(f, Finding::Intact | Finding::WrongMode));
        let problems: Vec<String> =
            wrong.take(NAMED_MAX).map(|(row, _)| format!("the journal is damaged, and so is {}", row.path)).collect();
        if problems.is_empty() { Ok(()) } else { Err(TreeError::NeedsHeal { problems }) }
    }
}

/// Undoes a transaction that could not be led forward, from whatever lies there now, and ends it.
///
/// What failed may have been the flush after the journal's name was gone. Nothing is undone without one: it is there again, durably,
/// before anything else changes. Nor is anything undone if not all can be: then the way forward is still open.
pub(super) fn turn_back(tree: &Tree, journal: &Journal) -> Result<CommitReport, TreeError> {
    let fs = tree.fs();
    if fs.metadata(&layout::journal())?.is_none() {
        fs::replace_file(fs, &layout::journal(), &layout::journal_spare(), &journal.to_bytes())?;
    }
    let known = classify(tree, journal)?;
    let mut late = CommitReport::default();
    let untouched = |op: usize| known[op].facts.current.is(Side::Before) || known[op].facts.backup;
    apply::keep_late_edits(tree, journal, &known, untouched, &mut late)?;
    let known = if late.kept.is_empty() { known } else { classify(tree, journal)? };
    let facts: Vec<Facts> = known.iter().map(|k| k.facts).collect();
    let lacking = lacks_to_go_back(&journal.ops, &facts);
    if lacking.is_empty() {
        run_known(tree, journal, Side::Before, known)
    } else {
        Err(needs_heal(journal, &lacking, "no old"))
    }
}

fn needs_heal(journal: &Journal, ops: &[usize], what: &str) -> TreeError {
    let name = |op: &usize| format!("{what} content of {} is left", journal.ops[*op].path);
    TreeError::NeedsHeal { problems: ops.iter().take(NAMED_MAX).map(name).collect() }
}

fn run_known(tree: &Tree, journal: &Journal, side: Side, known: Vec<Known>) -> Result<CommitReport, TreeError> {
    let mut report = match Run::new(tree, journal, side, known, &Silent).after_another().run() {
        // Going back needs nothing of what was staged, and may need a name where there is no room for one.
        Err(e) if side == Side::Before && e.lacks_room() => {
            fs::remove_all(tree.fs(), &layout::staging(&journal.key))?;
            Run::new(tree, journal, side, classify(tree, journal)?, &Silent).after_another().run()?
        }
        run => run?,
    };
    if side == Side::After {
        apply::keep_late_edits(tree, journal, &[], |_| false, &mut report)?;
    }
    apply::end(tree, journal, side)?;
    // A name too many in `kept/` does no harm.
    let _ = apply::settle_asides(tree, journal, side, &mut report);
    apply::clean(tree, journal, side);
    Ok(report)
}

/// Finds out what lies at every path of the journal, in parallel. Only what can matter is read.
fn classify(tree: &Tree, journal: &Journal) -> Result<Vec<Known>, TreeError> {
    let one = |(index, op): (usize, &JournalOp)| classify_one(tree, journal, index, op);
    journal.ops.par_iter().enumerate().map(one).collect()
}

/// Whether the device could not read what is there: it is lost, and the other side may not need it.
fn is_of_the_device(error: &FsError) -> bool {
    matches!(error, FsError::Io { source, .. } if source.raw_os_error().is_some_and(|code| DEVICE_ERRORS.contains(&code)))
}

fn classify_one(tree: &Tree, journal: &Journal, index: usize, op: &JournalOp) -> Result<Known, TreeError> {
    let fs = tree.fs();
    let target = scan::observe(fs, &layout::target(op.area, &op.path)?);
    let target = apply::absent_below_own_link(journal, target, Observed::ABSENT)?;
    let current = Current::of(op, target.thing.as_ref());
    let holds = |place: &Place, thing: &Thing| {
        let read = || scan::observe(fs, place);
        // Twice, as it is given up only for good.
        let found = read().or_else(|e| if is_of_the_device(&e) { read() } else { Err(e) });
        match found {
            Err(e) if is_of_the_device(&e) => Ok(false),
            found => found.map(|found| found.thing.is_some_and(|t| t.same_content(thing))),
        }
    };
    let staged = match op.staged {
        Some(number) if !current.is(Side::After) || op.was.is_some() => {
            holds(&layout::staged(&journal.key, number), &op.after)?
        }
        _ => false,
    };
    let backup = op.before.is_leaf() && holds(&layout::backup(journal, index)?, &op.before)?;
    let is_held = backup || op.backup == Backup::None || current.is(Side::Before);
    let nothing = || fs.metadata(&layout::nothing_held(&journal.key, index));
    let aside = !is_held && (apply::aside(fs, journal, op)?.is_some() || nothing()?.is_some());
    Ok(Known { facts: Facts { current, staged, backup, aside }, stamp: target.stamp, staged_stamp: None })
}
