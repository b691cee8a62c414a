//! What waits for one connection: the rest of what it has begun to take, and control frames behind it.
//!
//! Why `head` keeps what was taken of it: so the place of each frame in it is known, and a frame that was not
//! begun can still be taken back.
//! Invariants: `head` begins with a frame and holds whole frames, and `sent` is the number of its bytes that
//! were taken. It is finished before anything else is sent.
//! Not here: who is sent what (`connections`, `fanout`).

use bytes::Bytes;
use grandstand_protocol::stream;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    head: Bytes,
    sent: usize,
    /// Control frames behind it.
    pub(super) control: Vec<u8>,
}

/// What becomes of a frame that waits.
pub(super) enum Verdict {
    Keep,
    /// What was written in its place takes it.
    Replace,
}

impl Outgoing {
    /// A frame, or frames, of which so many bytes were taken. Pins at most one shared batch.
    pub(super) fn of(head: Bytes, sent: usize) -> Outgoing {
        Outgoing { head, sent, control: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.head.len() && self.control.is_empty()
    }

    /// Bytes that wait.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.head.len() - self.sent + self.control.len()
    }

    /// What to send next.
    pub(super) fn next(&mut self) -> Bytes {
        if self.sent == self.head.len() {
            (self.head, self.sent) = (Bytes::from(std::mem::take(&mut self.control)), 0);
        }
        self.head.slice(self.sent..)
    }

    /// Of that, so many bytes were taken. `true`: all.
    pub(super) fn advance(&mut self, taken: usize) -> bool {
        self.sent += taken;
        if self.sent < self.head.len() {
            return false;
        }
        (self.head, self.sent) = (Bytes::new(), 0);
        true
    }

    /// Judge each frame of which nothing was sent, by its bytes without the header. The judge may write other
    /// frames in its place. Frames of the transport itself stay. `true`: something was replaced.
    pub(super) fn rewrite(&mut self, mut judge: impl FnMut(&[u8], &mut Vec<u8>) -> Verdict) -> bool {
        let begun = if self.sent == 0 { Some(0) } else { end_of_begun(&self.head, self.sent) };
        let Some(begun) = begun else { return false };
        let mut new: Option<Vec<u8>> = None;
        let (mut kept, mut scratch) = (Vec::new(), Vec::new());
        for waiting in [&self.head[begun..], &self.control[..]] {
            let mut rest = waiting;
            while let Some((header, length)) = frame_at(rest) {
                let (frame, behind) = rest.split_at(header + length);
                let is_ours = frame[0] == stream::MARK;
                scratch.clear();
                let verdict = if is_ours { judge(&frame[header..], &mut scratch) } else { Verdict::Keep };
                if let Verdict::Replace = verdict
                    && new.is_none()
                {
                    // From here on all is copied.
                    let before = waiting.len() - rest.len();
                    let mut copied = std::mem::take(&mut kept);
                    copied.extend_from_slice(&waiting[..before]);
                    new = Some(copied);
                }
                if let Some(new) = new.as_mut() {
                    match verdict {
                        Verdict::Keep => new.extend_from_slice(frame),
                        Verdict::Replace => new.extend_from_slice(&scratch),
                    }
                }
                rest = behind;
            }
            debug_assert!(rest.is_empty(), "what waits is whole frames");
            match new.as_mut() {
                Some(new) => new.extend_from_slice(rest),
                None => kept.extend_from_slice(waiting),
            }
        }
        let Some(new) = new else { return false };
        self.head = self.head.slice(..begun);
        self.control = new;
        true
    }
}

/// Header and length of the frame that these bytes begin with; the transport's own frames have the same
/// header, behind another first byte.
fn frame_at(bytes: &[u8]) -> Option<(usize, usize)> {
    let (header, length) = match *bytes.get(1)? & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        length => (2, u64::from(length)),
    };
    let length = usize::try_from(length).ok()?;
    (length <= bytes.len().checked_sub(header)?).then_some((header, length))
}

/// Where the frame ends of which some, but not all, was sent; or where the next one begins.
fn end_of_begun(head: &[u8], sent: usize) -> Option<usize> {
    let mut end = 0;
    while end < sent {
        let (header, length) = frame_at(&head[end..])?;
        end += header + length;
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of ours with these bytes.
    fn frame(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        stream::write_header(bytes.len(), &mut out);
        out.extend_from_slice(bytes);
        out
    }

    #[test]
    fn only_frames_that_were_not_begun_are_rewritten() {
        let long = [b'x'; 300];
        let frames =
            [frame(b"xa"), frame(b"b"), vec![0x8a, 1, b'x'], frame(&long), frame(b"xc"), frame(b"d")];
        let all = frames.concat();
        let x = |frame: &[u8], new: &mut Vec<u8>| match frame[0] {
            b'x' if frame.len() > 100 => Verdict::Replace,
            b'x' => {
                new.extend(self::frame(b"new"));
                Verdict::Replace
            }
            _ => Verdict::Keep,
        };
        for split in 0..frames.len() {
            let cut = frames[..split].concat().len();
            for sent in 0..=cut {
                let mut out = Outgoing::of(Bytes::from(all[..cut].to_vec()), sent);
                out.control = all[cut..].to_vec();
                out.rewrite(x);
                // What a peer reads: frames begun before as they were, the others as rewritten.
                let mut read = all[..sent].to_vec();
                while !out.is_empty() {
                    let next = out.next();
                    read.extend_from_slice(&next);
                    out.advance(next.len());
                }
                let (mut expected, mut at) = (Vec::new(), 0);
                for frame in &frames {
                    let is_begun = at < sent;
                    at += frame.len();
                    match frame[2] {
                        b'x' if is_begun || frame[0] != stream::MARK => expected.extend_from_slice(frame),
                        _ if frame.len() > 100 => expected.extend(frame.iter().filter(|_| is_begun)),
                        b'x' => expected.extend(self::frame(b"new")),
                        _ => expected.extend_from_slice(frame),
                    }
                }
                assert_eq!(read, expected, "{split} {sent}");
            }
        }
    }

    #[test]
    fn what_nobody_judges_stays_as_it_is() {
        let mut out = Outgoing::of(Bytes::from(frame(b"a")), 1);
        out.control = frame(b"b");
        assert!(!out.rewrite(|_, _| Verdict::Keep));
        assert_eq!(out.next(), frame(b"a")[1..]);
        assert!(out.advance(2));
        assert_eq!(out.next(), frame(b"b"));
        assert!(!out.advance(1) && out.advance(2) && out.is_empty());
    }
}
