//! The commit: from staged contents to a changed tree, whole or not at all.
//!
//! | step | what | if it ends here |
//! | --- | --- | --- |
//! | check | everything the plan assumed is looked at again, staged contents are hashed again, probes | nothing changed |
//! | intent | the journal is written, flushed, renamed into place, its directory flushed | old tree |
//! | hold | second names for all old contents, one flush | forward |
//! | apply | names change in a fixed order, no flush in between | forward, or back |
//! | seal | every touched directory flushed once, every name checked | forward |
//! | keep | further names for what the release before needs, flushed | forward, or back |
//! | finish | the journal is renamed away, its directory flushed | new tree |
//! | clean | backups and staging dropped | new tree; the next start goes on |
//!
//! Where a step fails the transaction is undone, under its journal: if that is gone already, it is written again first.

use super::apply::{self, Run};
use super::check::{self, Prepared};
use super::error::TreeError;
use super::order::Side;
use super::transaction::{CommitReport, Transaction};
use super::{TreeLock, fs, layout, recover};
use crate::format::journal::Thing;
use crate::progress::{Event, Phase, Progress};

impl TreeLock {
    /// Carries `transaction` out.
    ///
    /// If it returns, the tree is durably the new one. If the process or the machine ends meanwhile, [`TreeLock::recover`]
    /// makes it the new one or the old one. `progress` receives [`Phase::Commit`] with the bytes put in place.
    ///
    /// # Errors
    /// Before the first change: [`TreeError::ChangedMeanwhile`], [`TreeError::NotWritable`], [`TreeError::NoLinks`],
    /// [`TreeError::NoSpace`], [`TreeError::InTheWay`], a link where a directory should be. After it: [`TreeError::RolledBack`], with the tree as it
    /// was, or [`TreeError::CutOff`], where recovery has to do the rest.
    pub fn commit(&self, transaction: Transaction, progress: &dyn Progress) -> Result<CommitReport, TreeError> {
        if self.is_in_transaction()? {
            return Err(TreeError::InTransaction);
        }
        let Prepared { journal, known } = check::prepare(self, &transaction)?;
        if journal.ops.is_empty() {
            transaction.staging.discard()?;
            return Ok(CommitReport::default());
        }
        let placed = journal.ops.iter().map(|op| if let Thing::File { size, .. } = op.after { size } else { 0 });
        progress.event(Event::Started { phase: Phase::Commit, total_bytes: placed.sum() });
        fs::replace_file(self.fs(), &layout::journal(), &layout::journal_spare(), &journal.to_bytes())?;
        let run = Run::new(self, &journal, Side::After, known.clone(), progress).run();
        let sealed = run.and_then(|mut report| {
            apply::keep_late_edits(self, &journal, &known, |_| false, &mut report)?;
            apply::end(self, &journal, Side::After)?;
            Ok(report)
        });
        match sealed {
            Ok(report) => {
                apply::clean(self, &journal, Side::After);
                Ok(report)
            }
            Err(cause) => Err(self.undo(&journal, cause)),
        }
    }

    fn undo(&self, journal: &crate::format::journal::Journal, cause: TreeError) -> TreeError {
        let cause = Box::new(cause);
        match recover::turn_back(self, journal) {
            Ok(report) => TreeError::RolledBack { cause, kept: report.kept },
            Err(undoing) => TreeError::CutOff { cause, undoing: Box::new(undoing) },
        }
    }
}
