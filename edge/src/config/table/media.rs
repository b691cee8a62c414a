//! The keys of what goes around messages: previews of links, uploads and the GIF search.
//!
//! Why apart from the other sections: all of it is off by default, and a node without it needs none of them.
//! Not here: the form of a line (`table`), rules between keys (`check`).

use super::super::keys::config_sections;
use super::super::value::{GifService, Secret};
use std::path::PathBuf;

config_sections! {
    links: Links = "Previews of links, at the HTTP API" {
        previews: bool = false, [],
            "Offer previews at GET /v1/previews. The node fetches each page once for everybody, and reaches public addresses only.",
            "a node sends requests to servers that strangers name only if somebody decides so";
        keep_s: u64 = 86_400, [60, 2_592_000],
            "Seconds for which a preview is kept. One that failed is kept for at most 600 s. After that the page is fetched again.",
            "a page seldom changes what it says of itself within a day";
        kept_max: usize = 10_000, [16, 1_000_000],
            "Previews that are kept, in memory. Beyond, the one that was used longest ago is forgotten.",
            "some 10 MB, and more links than an evening has";
        allow: Vec<String> = Vec::new(), [],
            "Hosts (`HOST` or `HOST:PORT`), addresses and networks (CIDR) that may be fetched although they are not public. Everybody who may ask for previews can then make the node ask them.",
            "a preview must not reach this machine's own network";
    }

    uploads: Uploads = "Uploads of pictures, at the HTTP API" {
        enabled: bool = false, [],
            "Take GIF, JPEG, PNG and WebP at POST /v1/uploads, and serve them at GET /v1/uploads/{id} to everybody.",
            "a node keeps and serves strangers' pictures only if somebody decides so";
        dir: Option<PathBuf> = None, [],
            "Folder of the pictures; made when missing. Empty: `uploads` in log.dir. Unused with uploads.s3_bucket.",
            "the folder whose disk is large enough";
        s3_bucket: String = String::new(), [0, 63],
            "Bucket that keeps the pictures, in place of a folder. It must be there. Nodes of a cluster can share it.",
            "a first start must work without another service";
        s3_endpoint: String = String::new(), [0, 256],
            "Address of the S3 service, such as `https://s3.eu-central-1.amazonaws.com` or `http://10.0.0.5:9000`.",
            "services differ";
        s3_region: String = "us-east-1".to_owned(), [1, 64],
            "Region of the bucket. Most services other than Amazon's ignore it.",
            "what services that have no regions expect";
        s3_key_file: Option<PathBuf> = None, [],
            "File of two lines: the identity of the S3 key, and the key.",
            "a flag or a variable is visible to others";
        image_kb: u64 = 8_192, [16, 65_536],
            "Kilobytes (KiB) of one picture. A larger one is answered 413.",
            "a photograph of a phone has 3 to 6 MB";
        pixels_max: u64 = 12_500_000, [10_000, 100_000_000],
            "Pixels of one frame. A picture with more is refused before it is decoded; decoding holds 3 to 4 bytes a pixel.",
            "a photograph of 12 megapixels";
        frames_max: u32 = 500, [1, 10_000],
            "Frames of an animation. One with more is refused before it is decoded.",
            "half a minute at 15 a second";
        user_mb_per_day: u64 = 64, [1, 1_048_576],
            "Megabytes (MiB) that one person may upload in 24 hours. Beyond, uploads are answered 429.",
            "a dozen photographs";
        address_mb_per_day: u64 = 256, [1, 1_048_576],
            "Megabytes (MiB) that one address (IPv4, or IPv6 /64) may upload in 24 hours, whoever sends them.",
            "a household shares an address; a person with many names does too";
        store_mb: u64 = 10_240, [1, 1_073_741_824],
            "Megabytes (MiB) of all pictures in the store. Beyond, uploads are answered 507 until some are removed.",
            "strangers must not fill the disk";
        under_way_mb: u64 = 64, [8, 65_536],
            "Megabytes (MiB) of uploads that are under way, all together. Beyond, they wait, for 10 s at most.",
            "eight of the largest at a time; 200 people who upload at once wait their turn";
        threads: usize = 1, [1, 16],
            "Threads that check pictures, at a low priority. At most 64 pictures wait before them; beyond, uploads are answered 503.",
            "a picture takes 20 to 200 ms of a CPU, and viewers need the others";
        hold: bool = false, [],
            "Hold each upload until a moderator approves it. Until then it is served to moderators only.",
            "an audience expects to see its picture at once; switch it on where strangers may upload";
        anonymous: bool = false, [],
            "Take uploads, requests for previews and GIF searches also without a token. Then only the limits of addresses hold.",
            "somebody must answer for a picture";
    }

    gifs: Gifs = "GIF search, at the HTTP API" {
        provider: GifService = GifService::Off, [],
            "Service that GET /v1/gifs?q= asks: `klipy`, `giphy`, or `tenor` for any other that answers as Tenor's second version did (gifs.url). `off` closes the search.",
            "each needs a key of its own, and its name beside the results";
        key: Option<Secret> = None, [1, 512],
            "Key at the service. It stays on the server. A flag is visible to every user of the machine: prefer gifs.key_file or the environment.",
            "no key is shipped";
        key_file: Option<PathBuf> = None, [],
            "File of the key at the service. One line; the line end is not part of it. Instead of gifs.key.",
            "no key is shipped";
        url: String = String::new(), [0, 256],
            "Base address of the service, to which `search` is added, such as `https://tenor.example.org/v2`. Empty: that of klipy or giphy.",
            "the two services have known addresses";
    }
}
