//! Shrinking: a story with a fault, without the steps that the fault does not need.
//!
//! Delta debugging (Zeller and Hildebrandt 2002): leave out runs of steps, first half of the story and last
//! single steps, as long as a promise of the same kind is broken. The time of a step that was left out stays,
//! so the other steps happen when they did. At the end the waits are shortened too.
//! Not here: playing (`world`).

use crate::fleet::play_caught;
use crate::plan::Plan;
use crate::story::Step;

/// Plays that shrinking may take: seconds.
const PLAYS_MAX: usize = 2_000;

/// The shortest story that was found in which a promise of this kind is broken.
pub fn shrink(plan: &Plan, story: &[Step], kind: &str) -> Vec<Step> {
    let mut plays = 0;
    let mut is_broken = |story: &[Step]| {
        plays += 1;
        let is_kind = |v: &crate::checker::Violation| v.kind == kind;
        plays <= PLAYS_MAX && play_caught(plan, story).violation.is_some_and(|(v, _)| is_kind(&v))
    };
    let mut story = story.to_vec();
    let mut run = story.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let before = story.len();
        while at < story.len() {
            let shorter = without(&story, at, run);
            if is_broken(&shorter) {
                story = shorter;
            } else {
                at += run;
            }
        }
        if run == 1 && story.len() == before {
            break;
        }
        run = (run / 2).max(1);
    }
    shorten_waits(story, &mut is_broken)
}

/// Leave steps out; the time that they took stays.
fn without(story: &[Step], at: usize, run: usize) -> Vec<Step> {
    let end = (at + run).min(story.len());
    let left_us: u64 = story[at..end].iter().map(|step| step.after_us).sum();
    let mut shorter = [&story[..at], &story[end..]].concat();
    if let Some(next) = shorter.get_mut(at) {
        next.after_us += left_us;
    }
    shorter
}

fn shorten_waits(mut story: Vec<Step>, is_broken: &mut impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    for at in 0..story.len() {
        for after_us in [0, 1_000, 100_000, story[at].after_us / 2] {
            let mut shorter = story.clone();
            shorter[at].after_us = after_us;
            if after_us < story[at].after_us && is_broken(&shorter) {
                story = shorter;
                break;
            }
        }
    }
    story
}
