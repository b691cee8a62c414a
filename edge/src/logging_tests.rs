#[derive(Debug)] pub(super) struct Disk;
impl Disk { pub(super) fn write(&mut self, _: &[u8]) -> std::io::Result<usize> { Ok(0) } }
