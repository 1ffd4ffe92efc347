//! The faults, row by row, and what must come of each.

use std::time::Duration;

use super::hostile::Fault;
use super::scene::{Kind, PATIENT, When};
use super::tls;

/// What a fault is made from: the file it befalls, another one of its kind, its name, and numbers by chance.
pub(crate) struct Facts<'a> {
    pub(crate) file: &'a [u8],
    pub(crate) older: &'a [u8],
    pub(crate) name: &'a str,
    /// Whether nobody knows the file's length and digest before it is there.
    pub(crate) is_open: bool,
    pub(crate) dice: &'a mut dyn FnMut(usize) -> usize,
}

/// Makes what happens to one request, and after it to the next; for ever means the last of them for ever.
type Make = Box<dyn Fn(&mut Facts<'_>) -> Vec<Fault> + Send + Sync>;

/// One behaviour of a server and what comes of it.
pub(crate) struct Row {
    /// Number of the fault, from 1 to 30.
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) make: Make,
    pub(crate) silence: Duration,
    once: Vec<(Group, &'static str)>,
    ever: Vec<(Group, &'static str)>,
}

/// Kinds that fare alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Documents of unknown length and digest.
    Open,
    /// Files named by a signed digest.
    Signed,
    /// The same, where objects are another way.
    Pack,
    One(Kind),
}

impl Group {
    fn has(self, kind: Kind) -> bool {
        match self {
            Self::Open => kind.is_open(),
            Self::Signed => !kind.is_open() && kind != Kind::Pack,
            Self::Pack => kind == Kind::Pack,
            Self::One(one) => kind == one,
        }
    }
}

impl Row {
    /// The words an update may end with, divided by `|`; `whole` if nothing else is said.
    pub(crate) fn expected(&self, kind: Kind, when: When) -> &'static str {
        let list = if when == When::Last { &self.ever } else { &self.once };
        list.iter().rev().find(|(group, _)| group.has(kind)).map_or("whole", |(_, word)| word)
    }

    fn once(mut self, group: Group, word: &'static str) -> Self {
        self.once.push((group, word));
        self
    }

    fn ever(mut self, group: Group, word: &'static str) -> Self {
        self.ever.push((group, word));
        self
    }

    /// Open documents, signed files and packs end so if it lasts for ever.
    fn lasting(self, open: &'static str, signed: &'static str, pack: &'static str) -> Self {
        self.ever(Group::Open, open).ever(Group::Signed, signed).ever(Group::Pack, pack)
    }

    /// The same if it happens once.
    fn passing(self, open: &'static str, signed: &'static str, pack: &'static str) -> Self {
        self.once(Group::Open, open).once(Group::Signed, signed).once(Group::Pack, pack)
    }

    fn short(mut self) -> Self {
        self.silence = Duration::from_millis(250);
        self
    }
}

fn row(
    number: u32,
    name: impl Into<String>,
    make: impl Fn(&mut Facts<'_>) -> Vec<Fault> + Send + Sync + 'static,
) -> Row {
    let (once, ever) = (Vec::new(), Vec::new());
    Row { number, name: name.into(), make: Box::new(make), silence: PATIENT, once, ever }
}

/// The same whatever the file.
fn plain(number: u32, name: impl Into<String>, fault: Fault) -> Row {
    row(number, name, move |_| vec![fault.clone()])
}

/// Every row.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = connections();
    rows.extend(bodies());
    rows.extend(changed());
    rows.extend(ranges());
    rows.extend(edges());
    rows.extend(statuses());
    rows.extend(redirects());
    rows.extend(protocol());
    rows.sort_by_key(|row| row.number);
    rows
}

const BROKEN: &str = "interrupted";

fn connections() -> Vec<Row> {
    let mut rows = vec![
        plain(1, "the host goes down", Fault::Vanish).lasting(BROKEN, BROKEN, "whole"),
        plain(1, "sent to a host that is down", Fault::Redirect("http://127.0.0.1:9/".into()))
            .lasting("redirect", "connect", "connect"),
        plain(6, "silence before the head", Fault::StallBeforeHead).short().lasting("stalled", "stalled", "stalled"),
        plain(6, "silence after the head", Fault::StallAfter(0)).short().lasting("stalled", "stalled", "stalled"),
        row(6, "silence in the middle", |f| vec![Fault::StallAfter(f.file.len() / 3)])
            .short()
            .ever(Group::Open, "stalled"),
        plain(7, "a byte now and then", Fault::Trickle { bytes: 1, pause: Duration::from_millis(20) })
            .short()
            .lasting("slow", "slow", "slow"),
        row(27, "silence, then no host, then all is well", |f| {
            vec![Fault::StallAfter(f.file.len() / 3), Fault::Vanish]
        })
        .short()
        // A cut before that is the third failure, and somebody waits for it.
        .once(Group::Open, "whole|interrupted"),
    ];
    for (name, at) in [("at once", 0), ("after a byte", 1), ("somewhere", 2), ("before the last byte", 3)] {
        rows.push(
            row(2, format!("reset {name}"), move |f| {
                let length = f.file.len();
                vec![Fault::ResetAfter([0, 1, (f.dice)(length), length - 1][at])]
            })
            .lasting(BROKEN, if at < 2 { BROKEN } else { "whole|interrupted" }, "whole"),
        );
    }
    rows
}

/// What breaks off, though not before something new has come: in the end it is all there. A document begins anew each time.
fn in_pieces(row: Row) -> Row {
    row.ever(Group::Open, BROKEN)
}

fn bodies() -> Vec<Row> {
    let broken = |row: Row| row.lasting(BROKEN, BROKEN, "whole");
    let mut rows = vec![
        in_pieces(row(3, "closed before the announced end", |f| vec![Fault::CutAfter(f.file.len() / 3)])),
        row(3, "closed early, no length announced", |f| vec![Fault::CloseAfter(f.file.len() / 3)])
            .ever(Group::Open, "refused E_NOT_OURS"),
        in_pieces(row(3, "closed within a chunk", |f| vec![Fault::Chunked { size: 100, cut: Some(f.file.len() / 3) }])),
        plain(4, "one byte more", Fault::Longer(1)).ever(Group::Open, "refused E_NOT_OURS"),
        plain(4, "much more", Fault::Longer(200_000)).ever(Group::Open, "too-long"),
        plain(4, "without end", Fault::Endless).lasting("too-long", "wrong-content", "whole"),
        in_pieces(plain(5, "Content-Length: 999999", Fault::ContentLength("999999"))),
    ];
    for text in ["-1", "many", "18446744073709551616"] {
        rows.push(broken(plain(5, format!("Content-Length: {text}"), Fault::ContentLength(text))));
    }
    for text in ["1", "5, 5"] {
        let row = broken(plain(5, format!("Content-Length: {text}"), Fault::ContentLength(text)));
        rows.push(row.ever(Group::Open, "refused E_NOT_OURS"));
    }
    rows
}

/// Bytes that are not those of the file.
fn changed() -> Vec<Row> {
    let mut rows = Vec::new();
    for coding in ["gzip", "br", "zstd", "gzip, gzip"] {
        rows.push(
            plain(8, format!("Content-Encoding: {coding}"), Fault::Header("Content-Encoding", coding.into()))
                .passing("encoded", "encoded", "whole")
                .lasting("encoded", "encoded", "whole"),
        );
    }
    rows.push(wrong(row(9, "CR LF for LF", |f| {
        let text = f.file.iter().flat_map(|b| if *b == b'\n' { vec![b'\r', b'\n'] } else { vec![*b] });
        vec![Fault::Other(text.collect())]
    })));
    rows.push(wrong(row(9, "letters of another case", |f| {
        let turn = |b: &u8| if b.is_ascii_alphabetic() { *b ^ 0x20 } else { b.wrapping_add(1) };
        vec![Fault::Other(f.file.iter().map(turn).collect())]
    })));
    rows.push(wrong(row(9, "a mark before it", |f| vec![Fault::Other([b"\xef\xbb\xbf", f.file].concat())])));
    // In the second half, so that whoever goes on in the middle meets it.
    rows.push(wrong(row(28, "one bit flipped", |f| {
        let half = f.file.len() / 2;
        vec![Fault::Flip(half + (f.dice)(half))]
    })));
    rows.push(wrong(row(28, "the last byte another", |f| vec![Fault::Flip(f.file.len() - 1)])));
    rows.push(torn(row(30, "uploaded by half", |f| vec![Fault::Other(f.file[..f.file.len() / 2].to_vec())])));
    rows.push(torn(plain(30, "uploaded empty", Fault::Other(Vec::new()))));
    // A root that is not there is the end of the chain; without the newest ones this site can still be believed.
    let absent = missing(plain(30, "not uploaded yet", Fault::Status(404)), "not-found");
    rows.push(absent.once(Group::One(Kind::Root), "whole").ever(Group::One(Kind::Root), "whole"));
    rows
}

/// What is signed, and is not this.
fn wrong(row: Row) -> Row {
    row.lasting("refused", "wrong-content", "whole")
}

/// What ends too early, however often it is asked for.
fn torn(row: Row) -> Row {
    row.lasting("refused E_NOT_OURS", BROKEN, "whole")
}

/// What is asked for once.
fn missing(row: Row, word: &'static str) -> Row {
    row.passing(word, word, "whole").lasting(word, word, "whole")
}

/// What even a request without a range is answered with.
fn always(signed: &'static str, pack: &'static str, row: Row) -> Row {
    row.ever(Group::Signed, signed).ever(Group::Pack, pack)
}

fn ranges() -> Vec<Row> {
    let mut rows = vec![
        plain(10, "200 for a range", Fault::IgnoreRange),
        always("status", "status", plain(12, "416", Fault::Status(416))),
        always(
            "status",
            "status",
            plain(12, "416 that names a length", Fault::StatusWith(416, vec![("Content-Range", "bytes */7".into())])),
        ),
        plain(13, "another ETag", Fault::Header("ETag", "\"another\"".into())),
        plain(13, "another Last-Modified", Fault::Header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT".into())),
        always("range", "whole", plain(11, "206 from elsewhere", Fault::LaterPart(5))),
    ];
    for text in ["bytes 0-9/10", "bytes 1-2/3", "bytes 9999999-99999999/100000000", "nonsense", ""] {
        rows.push(always("range", "whole", plain(11, format!("Content-Range: {text}"), Fault::ContentRange(text))));
    }
    let multipart =
        "HTTP/1.1 206 x\r\nContent-Type: multipart/byteranges; boundary=x\r\nConnection: close\r\n\r\n--x--";
    rows.push(always("range", "whole", plain(11, "multipart/byteranges", Fault::Raw(multipart.into()))));
    rows
}

/// What an edge that lags behind has; of what no name ever had twice, other bytes of the same length.
fn before(f: &Facts<'_>) -> Fault {
    let mut bytes = f.older.to_vec();
    if !f.is_open {
        bytes.resize(f.file.len(), 0);
    }
    Fault::Other(bytes)
}

fn edges() -> Vec<Row> {
    let mut rows = vec![
        plain(14, "304 nobody asked for", Fault::Status(304)).lasting("status", "status", "status"),
        wrong(row(15, "an edge has the file of before", |f| vec![before(f)]))
            .once(Group::One(Kind::Head), "older")
            .ever(Group::One(Kind::Head), "older"),
        row(16, "edges of two releases take turns", |f| {
            (0..6).map(|n| if n % 2 == 0 { before(f) } else { Fault::Honest }).collect()
        })
        .once(Group::One(Kind::Head), "older")
        .ever(Group::One(Kind::Head), "older"),
        row(16, "edges of two releases by chance", |f| {
            let mut faults: Vec<_> = (0..6).map(|_| if (f.dice)(2) == 0 { before(f) } else { Fault::Honest }).collect();
            faults.push(Fault::Honest);
            faults
        })
        .passing("whole|refused", "whole|wrong-content", "whole")
        .lasting("whole|refused", "whole|wrong-content", "whole")
        .once(Group::One(Kind::Head), "whole|older")
        .ever(Group::One(Kind::Head), "whole|older"),
    ];
    for (status, word) in
        [(404, "not-found"), (410, "not-found"), (403, "forbidden"), (401, "forbidden"), (451, "forbidden")]
    {
        rows.push(missing(plain(17, status.to_string(), Fault::Status(status)), word));
        let word = if word == "not-found" { "whole" } else { word };
        rows.push(missing(plain(18, status.to_string(), Fault::Status(status)), word));
    }
    rows.push(plain(18, "500", Fault::Status(500)).lasting("status", "", ""));
    rows.push(plain(18, "a page", Fault::WebPage).lasting("web-page", "", ""));
    rows
}

fn statuses() -> Vec<Row> {
    let mut rows = Vec::new();
    for status in [500, 502, 503, 504, 429, 418, 202] {
        rows.push(plain(19, status.to_string(), Fault::Status(status)).lasting("status", "status", "status"));
    }
    for (wait, name) in [("5", "5 s"), ("Sun, 06 Nov 1994 08:49:37 GMT", "a date")] {
        let fault = Fault::StatusWith(503, vec![("Retry-After", wait.into())]);
        rows.push(plain(19, format!("503, Retry-After {name}"), fault).lasting("status", "status", "status"));
    }
    let fault = Fault::StatusWith(429, vec![("Retry-After", "7200".into())]);
    rows.push(
        plain(19, "429, Retry-After two hours", fault)
            .passing("status", "status", "status")
            .lasting("status", "status", "status"),
    );
    for (name, fault, word) in [
        ("200 with a page", Fault::WebPage, "web-page"),
        ("511", Fault::Status(511), "web-page"),
        ("204", Fault::Status(204), "status"),
    ] {
        rows.push(plain(22, name, fault).lasting(word, word, word));
    }
    rows.push(
        plain(22, "302 to a portal", Fault::Redirect("http://127.0.0.1:9/login".into()))
            .lasting("redirect", "connect", "connect"),
    );
    rows.push(
        plain(26, "407", Fault::Status(407)).passing("proxy", "proxy", "proxy").lasting("proxy", "proxy", "proxy"),
    );
    rows
}

fn redirects() -> Vec<Row> {
    let refused = |row: Row| row.lasting("redirect", "redirect", "redirect");
    let mut rows = vec![refused(row(20, "to itself", |f| vec![Fault::Redirect(format!("/{}", f.name))]))];
    for to in ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "http://exa mple/", "http://[::1", ""] {
        rows.push(refused(plain(20, format!("to {to:?}"), Fault::Redirect(to.into()))));
    }
    rows.push(plain(20, "a status without a place", Fault::Status(302)).lasting("status", "status", "status"));
    let split = "HTTP/1.1 302 x\r\nLocation: /a\rX: b\r\nContent-Length: 0\r\n\r\n";
    rows.push(plain(20, "CR within the place", Fault::Raw(split.into())).lasting(BROKEN, BROKEN, "whole"));
    for (name, certificate) in
        [("expired", tls::EXPIRED), ("of another host", tls::ELSEWHERE), ("of nobody", tls::GOOD)]
    {
        let url = format!("https://{}/", tls::serve(certificate, b"secure"));
        rows.push(
            missing(plain(21, format!("certificate {name}"), Fault::Redirect(url)), "tls")
                .once(Group::Pack, "tls")
                .ever(Group::Pack, "tls"),
        );
    }
    rows
}

fn protocol() -> Vec<Row> {
    let many = (0..10_000).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let raws = [
        ("no answer at all", String::new()),
        ("another protocol", "SSH-2.0-x\r\n".into()),
        ("no status", "HTTP/1.1 999999 x\r\n\r\n".into()),
        ("chunks too large", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nx".into()),
        ("a negative chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nx".into()),
        ("10,000 fields", format!("HTTP/1.1 200 OK\r\n{many}\r\n")),
        ("a field of a MiB", format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(1 << 20))),
        ("nothing but 100", "HTTP/1.1 100 Continue\r\n\r\n".repeat(50)),
    ];
    let mut rows: Vec<Row> = raws
        .into_iter()
        .map(|(name, raw)| plain(23, name, Fault::Raw(raw.into_bytes())).lasting(BROKEN, BROKEN, "whole"))
        .collect();
    rows.push(row(23, "HTTP/1.0", |f| vec![Fault::Raw([&b"HTTP/1.0 200 OK\r\n\r\n"[..], f.file].concat())]));
    rows.push(row(23, "chunks with a trailer", |_| vec![Fault::Chunked { size: 77, cut: None }]));
    rows.push(row(23, "1xx before the answer", |f| {
        let head = format!(
            "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            f.file.len()
        );
        vec![Fault::Raw([head.as_bytes(), f.file].concat())]
    }));
    rows.push(plain(24, "bytes after the body", Fault::Trailing(100)));
    rows.push(row(24, "a second answer after the body", |f| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", f.file.len());
        vec![Fault::Raw([head.as_bytes(), f.file, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"].concat())]
    }));
    rows
}

/// Faults that make no sense for a kind of file, or at a time, with the reason.
pub(crate) fn excluded(number: u32, kind: Kind, when: When) -> Option<&'static str> {
    match number {
        10..=13 if kind.is_open() => {
            Some("documents of unknown length are asked for whole: there is no range to answer")
        }
        10..=13 if when == When::First => Some("a first request asks for no range"),
        17 if kind == Kind::Root => Some("what is missing after the last root is row 18"),
        18 if kind != Kind::Root => Some("only the chain of roots has an end that is found by asking"),
        25 => Some("an address is chosen for a connection, before any file is asked for: client/tests/http.rs"),
        27 if when == When::Last => Some("a machine that never wakes is row 6"),
        29 => Some("the disk is no server: scripts/faults.py fills it, and client/tests/power.rs"),
        _ => None,
    }
}
