//! One visit of the client to a site: the loop of requests a client runs, and its outcome as facts.

use lamplighter_client::trust::{self, Documents, Facts, Judgement, Need, Refusal, TrustState, Verdict};
use serde_json::{Value, json};

use crate::documents::CHANNEL;

/// What a site hands out: roots by their number, from 2 on.
pub(crate) struct Site {
    pub(crate) roots: Vec<Vec<u8>>,
    pub(crate) head: Vec<u8>,
    pub(crate) release: Vec<u8>,
}

/// The outcome and how many roots were asked for.
pub(crate) fn visit(facts: &Facts<'_>, site: &Site) -> (Result<Judgement, Refusal>, usize) {
    let mut documents = Documents::default();
    let mut asked = 0;
    loop {
        let judged = trust::judge(facts, &documents);
        match judged.as_ref().map(|j| &j.verdict) {
            Ok(Verdict::Need(Need::Head)) => documents.head = Some(site.head.clone()),
            Ok(Verdict::Need(Need::Release { .. })) => documents.release = Some(site.release.clone()),
            Ok(Verdict::Need(Need::Root(version))) => {
                asked += 1;
                match site.roots.get(*version as usize - 2) {
                    Some(root) => documents.roots.push(root.clone()),
                    None => documents.roots_ended = true,
                }
            }
            _ => return (judged, asked),
        }
    }
}

/// The outcome as facts: verdict, stable code, the document a refusal is about, and what is remembered.
pub(crate) fn told(judged: &Result<Judgement, Refusal>, asked: usize) -> Value {
    let (verdict, code, document) = match judged {
        Err(refusal) => ("refused", refusal.code(), document(refusal)),
        Ok(judgement) => match &judgement.verdict {
            Verdict::Offer(_) => ("offer", "", ""),
            Verdict::Available(_) => ("available", "", ""),
            Verdict::Idle(idle) => ("idle", idle.code(), ""),
            Verdict::Need(_) => ("undecided", "", ""),
        },
    };
    let kept = judged.as_ref().ok().and_then(|j| j.state.as_ref()).map(remembered);
    json!({"verdict": verdict, "code": code, "document": document, "asked": asked, "kept": kept})
}

fn remembered(state: &TrustState) -> Value {
    let known = &state.channels[CHANNEL];
    json!({
        "roots": state.roots.len(), "walked": state.roots_walked.map(|t| t.seconds()), "sequence": known.sequence,
        "issued": known.issued.seconds(), "highest": known.highest_build, "root": known.root_version,
    })
}

fn document(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NotOurs { document, .. }
        | Refusal::Malformed { document, .. }
        | Refusal::Document { document, .. }
        | Refusal::TooOld { document, .. }
        | Refusal::Unsigned { document, .. }
        | Refusal::Wrong { document, .. } => document,
        Refusal::RootUnsigned { .. } | Refusal::RootVersion { .. } | Refusal::RootChain => "root",
        Refusal::OlderHead { .. } | Refusal::Equivocation { .. } => "head",
        Refusal::ReleaseDigest { .. } | Refusal::BelowMinimum { .. } => "release",
    }
}
