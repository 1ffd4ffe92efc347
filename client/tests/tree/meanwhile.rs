//! What users, programs and the medium do to a tree while it is changed, or taken away.

use super::*;

/// Writes whenever a file was placed.
struct WhenPlaced(std::sync::Mutex<fs::File>);

impl Progress for WhenPlaced {
    fn event(&self, event: Event<'_>) {
        use std::io::Write;
        if let Event::Advanced { .. } = event {
            self.0.lock().expect("one thread").write_all(b"late").expect("written");
        }
    }
}

/// An update from `old` to `new`, watched by `progress`.
fn update_watched(
    tree: &Tree,
    old: &Release,
    new: &Release,
    progress: &dyn Progress,
) -> Result<CommitReport, TreeError> {
    let lock = tree.lock(Duration::ZERO)?;
    let staging = lock.staging("u")?;
    let put = |n: usize, text: &str, executable| stage(&staging, n, text, executable);
    let ops = tree::plan(&lock, old, new, put)?;
    lock.commit(Transaction { from: Some(record(old)), to: record(new), ops, staging }, progress)
}

/// An update while a program holds the old file open; it writes after the file got its second name.
fn update_with_late_edits(site: &Site, tree: &Tree) -> Result<CommitReport, TreeError> {
    let held = fs::OpenOptions::new().append(true).open(site.root().join("lib/b")).expect("opened");
    // Files are placed in order: lib/b is held and placed before the last event.
    update_watched(tree, &old(), &new(), &WhenPlaced(held.into()))
}

#[test]
fn what_a_program_writes_to_an_old_file_during_the_commit_is_kept() {
    let site = Site::plain(&old());
    let report = update_with_late_edits(&site, &site.tree()).expect("committed");
    let kept = report.kept.iter().find(|k| k.path == "lib/b").expect("kept");
    assert!(fs::read_to_string(&kept.kept_at).expect("there").starts_with("blate"));
    assert_eq!(fs::read(site.root().join("lib/b")).expect("there"), b"b, changed");
}

#[test]
fn what_a_program_writes_during_a_commit_that_fails_is_there_afterwards() {
    let (mut undone, mut written) = (0, 0);
    for k in 0.. {
        let site = Site::plain(&old());
        let control = tree_fs::Control::at(k, tree_fs::Fault::Fail(tree_fs::REFUSALS[0]));
        let tree = site.tree_on(tree_fs::FaultyFs::open(&site.root(), &site.state(), control.clone()));
        let before = fs::metadata(site.root().join("lib/b")).expect("there");
        let held = fs::File::open(site.root().join("lib/b")).expect("opened");
        let result = update_with_late_edits(&site, &tree);
        if control.calls() <= k {
            break;
        }
        drop(tree);
        lock(&site).recover().unwrap_or_else(|e| panic!("call {k}, {result:?}: {e}"));
        undone += usize::from(result.is_err());
        // A copy, made where a link fails, is not what the program writes to.
        let is_copied = result.as_ref().is_ok_and(|report| report.backups.copied > 0);
        if held.metadata().expect("open").len() > before.len() && !is_copied {
            written += 1;
            let is_there = site.contents().iter().any(|content| content.starts_with(b"blate"));
            assert!(is_there, "call {k}: {result:?}, {:?}", site.snapshot());
        }
    }
    assert!(undone > 20 && written > 20, "{undone} undone, {written} written");
}

/// Saves a file as an editor does: written beside it, and renamed over it.
fn save(site: &Site, name: &str, text: &str) {
    let beside = site.dir.path().join("tree/saved");
    fs::write(&beside, text).expect("written");
    fs::rename(&beside, site.root().join(name)).expect("renamed");
}

#[test]
fn what_is_saved_over_a_file_while_it_is_set_aside_is_not_removed() {
    let site = std::sync::Arc::new(Site::plain(&old()));
    let (saves, mut is_first) = (site.clone(), true);
    // The first edit has its name in kept/ by then, the second has none yet.
    let control = tree_fs::Control::counting().with_meddler(move |call, at| {
        if call == "flush directory" && at.path().starts_with("kept") && std::mem::take(&mut is_first) {
            save(&saves, "app", "edited again");
        }
    });
    let tree = site.tree_on(tree_fs::FaultyFs::open(&site.root(), &site.state(), control));
    let edits = site.clone();
    let edit = OnPlaced(std::sync::Mutex::new(Some(Box::new(move || save(&edits, "app", "edited")))));
    let result = tree.lock(Duration::ZERO).and_then(|lock| commit_with(&lock, &old(), &new(), &edit));
    assert!(matches!(result, Err(TreeError::CutOff { .. })), "{result:?}");
    drop(tree);
    lock(&site).recover().expect("recovered");
    for edit in ["edited", "edited again"] {
        assert!(site.contents().contains(edit.as_bytes()), "{edit:?} is lost: {:?}", site.snapshot());
    }
}

/// Does something once, when the first file was placed: one that runs is placed later.
struct OnPlaced(std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl lamplighter_client::progress::Progress for OnPlaced {
    fn event(&self, event: lamplighter_client::progress::Event<'_>) {
        if let lamplighter_client::progress::Event::Advanced { .. } = event
            && let Some(act) = self.0.lock().expect("one thread").take()
        {
            act();
        }
    }
}

#[test]
fn old_contents_that_cannot_be_removed_stop_the_next_commit_and_no_start() {
    use tree_fs::{Control, FaultyFs, Lacks, NOTHING};
    let site = Site::plain(&old());
    let lacks = Lacks { held: Some("backup/update/0"), ..NOTHING };
    let tree = site.tree_on(FaultyFs::open_on(lacks, &site.root(), &site.state(), Control::counting()));
    update(&tree, &old(), &new()).expect("an update");
    let after = site.snapshot();
    assert!(site.state().join("backup/update/0").exists(), "it is held");
    assert_eq!(tree::recover(&tree).expect("the tree is whole"), Recovery::Nothing);
    let refused = update(&tree, &new(), &old());
    assert!(matches!(&refused, Err(TreeError::Fs(e)) if e.to_string().contains("backup")), "{refused:?}");
    assert!(!tree.is_in_transaction().expect("looked"));
    assert_eq!(site.snapshot(), after);

    update(&site.tree(), &new(), &old()).expect("it was let go of");
    assert!(!site.state().join("backup").exists());
}

/// Saves over a file when all were read.
struct WhenRead<'a>(&'a Site, std::sync::atomic::AtomicU64);

impl lamplighter_client::progress::Progress for WhenRead<'_> {
    fn event(&self, event: lamplighter_client::progress::Event<'_>) {
        use std::sync::atomic::Ordering;
        if let lamplighter_client::progress::Event::Advanced { bytes } = event
            && bytes > 0
            && self.1.fetch_sub(bytes, Ordering::SeqCst) == bytes
        {
            save(self.0, "app", "mine");
            save(self.0, "lib/a", "a");
        }
    }
}

#[test]
fn what_is_saved_after_it_was_read_is_not_taken_away_with_the_tree() {
    let site = Site::plain(&old());
    let bytes = manifest(&old()).rows().iter().map(|row| row.digest.size).sum::<u64>().into();
    let done = lock(&site).uninstall(&manifest(&old()), &WhenRead(&site, bytes)).expect("uninstalled");
    assert_eq!(fs::read(site.root().join("app")).expect("it stays"), b"mine");
    // Saved anew as it was: nothing of the user's.
    assert!(!site.root().join("lib").exists());
    assert!(done.left.len() == 1 && done.left[0].ends_with("app") && done.removed == 2, "{done:?}");
}

/// Puts a file into a directory once everything was checked, and nothing has changed yet.
struct WhenChecked(PathBuf);

impl Progress for WhenChecked {
    fn event(&self, event: Event<'_>) {
        if let Event::Started { phase: Phase::Commit, .. } = event {
            fs::write(&self.0, "mine").expect("written");
        }
    }
}

#[test]
fn a_directory_that_was_set_aside_with_what_came_into_it_is_named_whatever_ends_the_commit() {
    let old: Release = vec![("app", Program("one")), ("dir/one", File("one"))];
    let new: Release = vec![("app", Program("two")), ("dir", File("now a file"))];
    let (mut named, mut undone) = (0, 0);
    for k in 0.. {
        let mut is_over = false;
        for fault in [tree_fs::Fault::Die, tree_fs::Fault::Fail(tree_fs::REFUSALS[0])] {
            let site = Site::plain(&old);
            let control = tree_fs::Control::at(k, fault);
            let tree = site.tree_on(tree_fs::FaultyFs::open(&site.root(), &site.state(), control.clone()));
            let result = update_watched(&tree, &old, &new, &WhenChecked(site.root().join("dir/mine")));
            drop(tree);
            is_over |= control.calls() <= k;
            let recovered = lock(&site).recover().unwrap_or_else(|e| panic!("call {k}, {result:?}: {e}"));
            let mut kept = match &result {
                Ok(report) => report.kept.clone(),
                Err(TreeError::RolledBack { kept, .. }) => kept.clone(),
                Err(_) => Vec::new(),
            };
            undone += usize::from(!kept.is_empty() && result.is_err());
            match (&recovered, &result) {
                (Recovery::RolledForward(report) | Recovery::RolledBack(report), _) => kept.extend(report.kept.clone()),
                // It ended when the journal was gone, and what it would have told with it.
                (Recovery::Nothing, Err(TreeError::CutOff { .. })) => continue,
                (Recovery::Nothing, _) => {}
            }
            if site.state().join("journal").exists() || site.root().join("dir/mine").exists() {
                continue;
            }
            let numbers = site.state().join("kept").read_dir().into_iter().flatten();
            let mut directories = numbers.map(|number| number.expect("an entry").path().join("dir")).peekable();
            // A number that nothing was moved to before the end is empty.
            if directories.peek().is_some() {
                assert!(directories.any(|dir| dir.join("mine").exists()), "call {k}, {fault:?}: {:?}", site.snapshot());
                let is_named = kept.iter().any(|kept| kept.path == "dir" && kept.kept_at.ends_with("dir"));
                assert!(is_named, "call {k}, {fault:?}: {result:?}, {recovered:?}");
                named += 1;
            }
        }
        if is_over {
            break;
        }
    }
    assert!(named > 20 && undone > 5, "{named} named, {undone} undone");
}

#[test]
fn an_old_content_that_vanished_from_where_it_was_held_is_not_taken_for_removed_by_the_user() {
    let cut_off_at = |k: u64| {
        let site = Site::plain(&old());
        let tree = site.tree_on(tree_fs::FaultyFs::open(
            &site.root(),
            &site.state(),
            tree_fs::Control::at(k, tree_fs::Fault::Die),
        ));
        let _ = update(&tree, &old(), &new());
        site
    };
    let is_placed = |k: &u64| fs::read(cut_off_at(*k).root().join("lib/b")).is_ok_and(|found| found == b"b, changed");
    let placed = (0..).find(is_placed).expect("it is placed at some call");
    let mut failed = 0;
    for j in 0.. {
        let site = cut_off_at(placed);
        fs::remove_dir_all(site.state().join("backup")).expect("removed");
        let control = tree_fs::Control::at(j, tree_fs::Fault::Fail(tree_fs::REFUSALS[0]));
        let tree = site.tree_on(tree_fs::FaultyFs::open(&site.root(), &site.state(), control.clone()));
        let result = tree.lock(Duration::ZERO).and_then(|lock| lock.recover());
        drop(tree);
        failed += usize::from(result.is_err());
        lock(&site).recover().unwrap_or_else(|e| panic!("call {j}, {result:?}: {e}"));
        // The other way would be without the old file.
        assert_eq!(
            fs::read_to_string(site.root().join("lib/b")).ok().as_deref(),
            Some("b, changed"),
            "{j}: {result:?}"
        );
        assert_eq!(site.tree().record().expect("read"), Some(record(&new())), "call {j}: {result:?}");
        if control.calls() <= j {
            break;
        }
    }
    assert!(failed > 5, "{failed}");
}

#[test]
fn a_staged_file_that_the_medium_lost_does_not_keep_the_old_tree_from_coming_back() {
    use tree_fs::{Control, Fault, FaultyFs, Lacks, NOTHING};
    let mut undone = 0;
    for k in 0.. {
        let site = Site::plain(&old());
        let before = site.snapshot();
        let control = Control::at(k, Fault::Die);
        let tree = site.tree_on(FaultyFs::open(&site.root(), &site.state(), control.clone()));
        let _ = update(&tree, &old(), &new());
        drop(tree);
        if control.calls() <= k {
            break;
        }
        // Of the first that is placed.
        let lacks = Lacks { unreadable: Some("staging/update/1"), ..NOTHING };
        let tree = site.tree_on(FaultyFs::open_on(lacks, &site.root(), &site.state(), Control::counting()));
        match tree.lock(Duration::ZERO).and_then(|lock| lock.recover()) {
            Ok(Recovery::RolledBack(_)) => {
                assert_eq!(site.snapshot(), before, "call {k}");
                undone += 1;
            }
            recovered => drop(recovered.unwrap_or_else(|e| panic!("call {k}: {e}"))),
        }
    }
    assert!(undone > 5, "{undone}");
}
