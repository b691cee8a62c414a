//! The smoke of the fuzz target `filter`: the same body as under libFuzzer, on seeds and mutations of them.
//!
//! Why: a target that nobody runs rots.

#[path = "../../../protocol/fuzz/filter.rs"]
mod body;
#[path = "../../../protocol/fuzz/smoke.rs"]
mod smoke;

#[test]
fn filter() {
    let seeds = [
        "nitwit\n*spam*\n! spammer\n/b[ae]d+ly/ | mask\n\0you n1tw1t, s p a m",
        "@ hold severity=3\nnoo*b\nhalf wit\n\0n*ob half-wit \u{202e}boon\u{202c}",
        "馬鹿\nばか\n바보\n\0ﾊﾞｶ 馬鹿 \u{1107}\u{1161}보",
    ];
    smoke::smoke(body::filter, &seeds.map(|seed| seed.as_bytes().to_vec()), 4_000);
}
