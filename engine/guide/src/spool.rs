//! The spool: programmes of a document in a file, until the whole document was read.
//!
//! Why: an import is judged whole, a document is larger than memory may grow, and its programmes come in any
//! order of channels. Invariant: 16 bytes of memory a programme; the file has no name once it is made.
//! Not here: the order within a channel (`mend`).

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{Programme, Show};

/// Bytes that are read at once, where programmes of a channel stand together.
const RUN: u64 = 256 << 10;

struct Entry {
    channel: u32,
    length: u32,
    at: u64,
}

/// Programmes that were read, by number of the channel.
pub(crate) struct Spool {
    file: BufWriter<File>,
    entries: Vec<Entry>,
    end: u64,
    record: Vec<u8>,
}

impl Spool {
    /// An empty spool in this folder.
    pub(crate) fn new(dir: &Path) -> io::Result<Spool> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("guide-{}-{number}.spool", std::process::id()));
        // Left by a killed process of the same number.
        let _ = std::fs::remove_file(&path);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Spool {
            file: BufWriter::with_capacity(RUN as usize, file),
            entries: Vec::new(),
            end: 0,
            record: Vec::new(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn push(&mut self, channel: u32, programme: &Programme) -> io::Result<()> {
        self.record.clear();
        encode(programme, &mut self.record);
        self.file.write_all(&self.record)?;
        self.entries.push(Entry { channel, length: self.record.len() as u32, at: self.end });
        self.end += self.record.len() as u64;
        Ok(())
    }

    /// All were pushed: sort them by channel, in the order in which they came.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.entries.sort_unstable_by_key(|entry| (entry.channel, entry.at));
        Ok(())
    }

    /// Programmes of a channel, in the document's order.
    pub(crate) fn of_channel(&self, channel: u32) -> io::Result<Vec<Programme>> {
        let from = self.entries.partition_point(|entry| entry.channel < channel);
        let to = self.entries.partition_point(|entry| entry.channel <= channel);
        let mut rest = &self.entries[from..to];
        let mut programmes = Vec::with_capacity(rest.len());
        let mut buffer = Vec::new();
        while let Some(first) = rest.first() {
            let mut end = first.at;
            let together = rest.iter().take_while(|entry| {
                let is_next =
                    entry.at == end && (end == first.at || end + u64::from(entry.length) - first.at <= RUN);
                end += if is_next { u64::from(entry.length) } else { 0 };
                is_next
            });
            let together = together.count();
            buffer.resize((end - first.at) as usize, 0);
            self.file.get_ref().read_exact_at(&mut buffer, first.at)?;
            let mut bytes = &buffer[..];
            for _ in 0..together {
                programmes.push(decode(&mut bytes).ok_or_else(|| io::Error::other("the spool is damaged"))?);
            }
            rest = &rest[together..];
        }
        Ok(programmes)
    }
}

fn put_text(text: &str, into: &mut Vec<u8>) {
    into.extend_from_slice(&(text.len() as u32).to_le_bytes());
    into.extend_from_slice(text.as_bytes());
}

fn put_list(list: &[String], into: &mut Vec<u8>) {
    into.extend_from_slice(&(list.len() as u32).to_le_bytes());
    list.iter().for_each(|text| put_text(text, into));
}

fn encode(programme: &Programme, into: &mut Vec<u8>) {
    let Programme { start, stop, clump, is_live, is_new, show, line } = programme;
    into.extend_from_slice(&start.to_le_bytes());
    into.extend_from_slice(&stop.unwrap_or(i64::MIN).to_le_bytes());
    let (part, parts) = clump.unwrap_or((0, 0));
    into.extend_from_slice(&part.to_le_bytes());
    into.extend_from_slice(&parts.to_le_bytes());
    into.extend_from_slice(&[u8::from(*is_live), u8::from(*is_new)]);
    into.extend_from_slice(&line.to_le_bytes());
    let Show {
        title,
        other_titles,
        sub_title,
        description,
        episode,
        provider,
        series,
        people,
        teams,
        categories,
    } = show;
    [title, sub_title, description, episode, provider, series].iter().for_each(|text| put_text(text, into));
    [other_titles, people, teams, categories].iter().for_each(|list| put_list(list, into));
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let length = u32::from_le_bytes(take(bytes)?) as usize;
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(head.to_vec()).ok()
}

fn list(bytes: &mut &[u8]) -> Option<Vec<String>> {
    let count = u32::from_le_bytes(take(bytes)?);
    (0..count).map(|_| text(bytes)).collect()
}

fn decode(bytes: &mut &[u8]) -> Option<Programme> {
    let start = i64::from_le_bytes(take(bytes)?);
    let stop = Some(i64::from_le_bytes(take(bytes)?)).filter(|stop| *stop > i64::MIN);
    let clump = (u32::from_le_bytes(take(bytes)?), u32::from_le_bytes(take(bytes)?));
    let [is_live, is_new] = take(bytes)?;
    let line = u64::from_le_bytes(take(bytes)?);
    let mut next = || text(bytes);
    let (title, sub_title, description) = (next()?, next()?, next()?);
    let (episode, provider, series) = (next()?, next()?, next()?);
    let mut next = || list(bytes);
    let (other_titles, people, teams, categories) = (next()?, next()?, next()?, next()?);
    let show = Show {
        title,
        other_titles,
        sub_title,
        description,
        episode,
        provider,
        series,
        people,
        teams,
        categories,
    };
    let clump = Some(clump).filter(|clump| clump.1 > 0);
    Some(Programme { start, stop, clump, is_live: is_live == 1, is_new: is_new == 1, show, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programmes_come_back_by_channel_in_their_order() {
        let programme = |n: i64| Programme {
            start: n,
            stop: (n % 2 == 0).then_some(n + 1),
            clump: (n % 3 == 0).then_some((1, 2)),
            is_live: n % 5 == 0,
            is_new: n % 7 == 0,
            show: Show {
                title: "é".repeat(n as usize),
                people: vec!["A".into(); n as usize % 4],
                ..Show::default()
            },
            line: n as u64,
        };
        let mut spool = Spool::new(&std::env::temp_dir()).unwrap();
        for n in 0..200 {
            spool.push(n as u32 % 3, &programme(n)).unwrap();
            spool.push(7, &programme(n)).unwrap();
        }
        spool.close().unwrap();
        for channel in 0..3 {
            let wanted: Vec<_> = (0..200).filter(|n| n % 3 == channel).map(programme).collect();
            assert_eq!(spool.of_channel(channel as u32).unwrap(), wanted);
        }
        assert_eq!(spool.of_channel(7).unwrap().len(), 200);
        assert_eq!(spool.of_channel(5).unwrap(), []);
    }
}
