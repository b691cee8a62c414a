//! The streams of one QUIC connection: the purpose of each, and a frame that has arrived only in part.
//!
//! Invariant: a stream is here once, from when the client opens it until the connection ends; between frames
//! its state holds no heap.
//! Not here: which streams there may be (`protocol`), reading and sending (`drive`).

use bytes::{Bytes, BytesMut};
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::stream::{self, HeaderFault};
use quinn_proto::StreamId;
use smallvec::SmallVec;

use super::protocol::Role;

/// One stream.
#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) id: StreamId,
    pub(super) role: Role,
    /// The beginning of a frame, with its header.
    partial: BytesMut,
}

/// The streams of one connection. The first one is stored inline, since a viewer has no other.
#[derive(Debug, Default)]
pub(super) struct Streams(SmallVec<[StreamState; 1]>);

impl Streams {
    pub(super) fn insert(&mut self, id: StreamId, role: Role) {
        self.0.push(StreamState { id, role, partial: BytesMut::new() });
    }

    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut StreamState> {
        self.0.iter_mut().find(|stream| stream.id == id)
    }

    /// The stream that carries the session's frames, once it is open.
    pub(super) fn session(&self) -> Option<StreamId> {
        self.0.iter().find(|stream| stream.role == Role::Session).map(|stream| stream.id)
    }
}

impl StreamState {
    /// Cut `chunk` into frames. A frame that began in earlier chunks is completed first.
    ///
    /// # Errors
    /// A close code and a reason: the header is not one of ours, or the frame is too large.
    pub(super) fn split_frames(
        &mut self,
        chunk: Bytes,
        frame_bytes_max: usize,
        mut take: impl FnMut(Bytes),
    ) -> Result<(), (CloseCode, &'static str)> {
        let mut bytes = if self.partial.is_empty() {
            chunk
        } else {
            self.partial.extend_from_slice(&chunk);
            std::mem::take(&mut self.partial).freeze()
        };
        loop {
            match stream::read_header(&bytes, frame_bytes_max).map_err(header_fault)? {
                Some((header, len)) if bytes.len() >= header + len => {
                    take(bytes.slice(header..header + len));
                    bytes = bytes.slice(header + len..);
                }
                _ => break,
            }
        }
        if !bytes.is_empty() {
            self.partial.extend_from_slice(&bytes);
        }
        Ok(())
    }
}

fn header_fault(fault: HeaderFault) -> (CloseCode, &'static str) {
    match fault {
        HeaderFault::Mark => (CloseCode::BadStream, "a frame header begins with 0x82"),
        HeaderFault::Length => (CloseCode::BadStream, "a frame's length is not in its shortest form"),
        HeaderFault::TooLarge(_) => (CloseCode::FrameTooLarge, "a frame over the size limit"),
    }
}

#[cfg(test)]
mod tests {
    use quinn_proto::{Dir, Side};

    use super::*;

    fn id(index: u64) -> StreamId {
        StreamId::new(Side::Client, Dir::Bi, index)
    }

    fn framed(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            stream::write_header(frame.len(), &mut bytes);
            bytes.extend_from_slice(frame);
        }
        bytes
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let frames: Vec<Vec<u8>> = [0usize, 1, 125, 126, 300].iter().map(|&n| vec![7; n]).collect();
        let bytes = framed(&frames);
        for step in 1..bytes.len() {
            let (mut streams, mut got) = (Streams::default(), Vec::new());
            streams.insert(id(0), Role::Session);
            let stream = streams.get_mut(id(0)).unwrap();
            for chunk in bytes.chunks(step) {
                stream.split_frames(Bytes::copy_from_slice(chunk), 1000, |f| got.push(f.to_vec())).unwrap();
            }
            assert_eq!(got, frames, "cut every {step}");
            assert!(stream.partial.is_empty());
        }
    }

    #[test]
    fn frames_of_two_streams_that_come_in_turns_stay_apart() {
        let frames = [vec![1; 200], vec![2; 300]];
        let bytes = frames.clone().map(|frame| framed(&[frame]));
        let mut streams = Streams::default();
        streams.insert(id(0), Role::Session);
        streams.insert(id(1), Role::Session);
        let mut got = Vec::new();
        for step in 0..100 {
            for (index, bytes) in bytes.iter().enumerate() {
                let chunk = bytes.chunks(7).nth(step).unwrap_or_default();
                let stream = streams.get_mut(id(index as u64)).unwrap();
                stream.split_frames(Bytes::copy_from_slice(chunk), 1000, |f| got.push(f.to_vec())).unwrap();
            }
        }
        assert_eq!(got, frames);
        assert_eq!(streams.session(), Some(id(0)));
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_header() {
        let mut bytes = Vec::new();
        stream::write_header(1001, &mut bytes);
        let mut streams = Streams::default();
        streams.insert(id(0), Role::Session);
        let fault = streams.get_mut(id(0)).unwrap().split_frames(bytes.into(), 1000, |_| {}).unwrap_err();
        assert_eq!(fault.0, CloseCode::FrameTooLarge);
    }
}
