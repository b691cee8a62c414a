//! The words of a trial without files: a list that offends nobody, and common words as the dictionary.
//!
//! Why: the trial runs in every test run, on machines that have neither a dictionary nor a list.
//! Not here: lists of operators (`main` reads them).

/// Words that nobody says by chance, with the shapes that real lists have: short and long, double letters,
/// and parts that are words themselves.
pub(crate) const LISTED: &str = "\
balderdash blatherskite blockhead bogeyman boondoggle buffoon bumpkin charlatan codswallop crackpot \
cretin curmudgeon dastard dimwit dingbat dolt doofus dullard dunce fathead flapdoodle fopdoodle \
gadzook gobbledygook gollumpus gomeril hoodlum hornswoggle humbug ignoramus jackanapes knucklehead \
lackwit loblolly lubberwort lummox malarkey milksop mooncalf mumpsimus muttonhead nincompoop ninny \
nitwit numbskull oaf-like pantywaist pettifogger pillock poltroon popinjay poppycock quisling \
rapscallion ratbag ruffian saphead scallywag scoundrel simpleton skulduggery slubberdegullion \
snollygoster stinkpot tatterdemalion tosspot twaddle varlet wastrel whippersnapper windbag yahoo \
zounderkite";
