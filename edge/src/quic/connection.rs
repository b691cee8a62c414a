//! One QUIC connection: quinn's state, the session's stream, and a frame that has only partly arrived.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use grandstand_edge_core::gate::Pass;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::stream::{self, HeaderFault};
use quinn_proto::{Connection, StreamId};

/// How much a connection may have to send.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sending {
    /// What was written to its stream.
    Written,
    /// Anything.
    All,
}

/// See the file's head.
pub(super) struct QuicConnection {
    pub(super) quinn: Connection,
    pub(super) stream: Option<StreamId>,
    pub(super) pass: Pass,
    /// When it was accepted.
    pub(super) since: Instant,
    pub(super) is_established: bool,
    pub(super) is_closed: bool,
    /// In the list of connections to drive, and how much it may have to send.
    pub(super) queued: Option<Sending>,
    /// Quinn has not been asked since it last sent something: see `Quic::settle`.
    pub(super) is_unsettled: bool,
    /// Beginning of a frame, with its header; empty and without heap between frames.
    pub(super) partial: BytesMut,
}

/// Cut `chunk` into frames behind what is left of earlier ones.
pub(super) fn split_frames(
    partial: &mut BytesMut,
    chunk: Bytes,
    frame_bytes_max: usize,
    mut take: impl FnMut(Bytes),
) -> Result<(), (CloseCode, &'static str)> {
    let mut bytes = if partial.is_empty() {
        chunk
    } else {
        partial.extend_from_slice(&chunk);
        std::mem::take(partial).freeze()
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
        partial.extend_from_slice(&bytes);
    }
    Ok(())
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
    use super::*;

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let mut wire = Vec::new();
        let frames: Vec<Vec<u8>> = [0usize, 1, 125, 126, 300].iter().map(|&n| vec![7; n]).collect();
        for frame in &frames {
            stream::write_header(frame.len(), &mut wire);
            wire.extend_from_slice(frame);
        }
        for step in 1..wire.len() {
            let (mut partial, mut got) = (BytesMut::new(), Vec::new());
            for chunk in wire.chunks(step) {
                split_frames(&mut partial, Bytes::copy_from_slice(chunk), 1000, |f| got.push(f.to_vec()))
                    .unwrap();
            }
            assert_eq!(got, frames, "cut every {step}");
            assert!(partial.is_empty());
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_header() {
        let mut wire = Vec::new();
        stream::write_header(1001, &mut wire);
        let fault = split_frames(&mut BytesMut::new(), wire.into(), 1000, |_| {}).unwrap_err();
        assert_eq!(fault.0, CloseCode::FrameTooLarge);
    }
}
