//! The page as HTML, pure: a [`Page`] in, text out.

use std::fmt::Write;

use lamplighter_client::format::text::Time;

use super::charts::{self, Bar, Names, date};
use super::model::{Channel, Offer, Page, Platform, Told};
use crate::explain::{Explanation, Part, Way};

/// Days below which the page warns of a head and of a root; those of the checks of a published site.
const WARN_DAYS: (u64, u64) = (crate::remote::HEAD_DAYS_DEFAULT, crate::remote::ROOT_DAYS_DEFAULT);
/// Target releases and base releases of the map of packs.
const MAP_TARGETS: usize = 10;
const MAP_BASES: usize = 12;
/// Largest parts of an update that are named, and newest releases that are listed.
const PARTS_SHOWN: usize = 10;
const RELEASES_LISTED: usize = 10;

/// The whole page.
pub fn render(page: &Page) -> String {
    let mut out = String::with_capacity(64 << 10);
    let app = esc(&page.app);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n\
         <title>{app}: releases</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{}</style>\n</head>\n<body>\n",
        include_str!("style.css")
    );
    header(&mut out, page);
    out.push_str("<main>\n<h2 id=\"channels\">Channels</h2>\n");
    if page.channels.is_empty() {
        out.push_str("<p>No channel offers anything yet.</p>\n");
    }
    for channel in &page.channels {
        channel_card(&mut out, channel);
    }
    out.push_str("<h2 id=\"platforms\">Platforms</h2>\n");
    for platform in &page.platforms {
        platform_card(&mut out, platform, &page.channels);
    }
    if !page.troubles.is_empty() {
        out.push_str("<h2 id=\"troubles\">Could not be read</h2>\n<ul>\n");
        page.troubles.iter().for_each(|trouble| {
            let _ = writeln!(out, "<li>{}</li>", esc(trouble));
        });
        out.push_str("</ul>\n");
    }
    out.push_str("</main>\n<footer><p>Made from the signed documents of this site by <code>publisher page</code>. ");
    out.push_str("Clients never read this page; what they install is what was signed.</p></footer>\n");
    let _ = write!(out, "<script>\n{}</script>\n</body>\n</html>\n", include_str!("script.js"));
    out
}

fn header(out: &mut String, page: &Page) {
    let _ = write!(out, "<header>\n<h1>{}</h1>\n<p class=\"lead\">", esc(&page.app));
    let releases: usize = page.platforms.iter().map(|platform| platform.count).sum();
    let _ = write!(
        out,
        "{} on {}, {}. Root version {} is good until {}.</p>\n</header>\n",
        counted(releases, "release"),
        counted(page.platforms.len(), "platform"),
        counted(page.channels.len(), "channel"),
        page.root.0,
        ends(page.root.1, WARN_DAYS.1)
    );
}

fn channel_card(out: &mut String, channel: &Channel) {
    let name = &channel.name;
    let _ = write!(
        out,
        "<section class=\"card\" aria-labelledby=\"c-{name}\">\n<h3 id=\"c-{name}\">{name}</h3>\n\
         <p class=\"muted\">Signed {}, good until {}; sequence {}.</p>\n",
        when(channel.dates.0),
        ends(channel.dates.1, WARN_DAYS.0),
        channel.sequence
    );
    out.push_str(
        "<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Platform</th><th scope=\"col\">Version</th>",
    );
    out.push_str("<th scope=\"col\" class=\"num\">Build</th><th scope=\"col\">Offered to</th></tr></thead>\n<tbody>\n");
    for offer in &channel.offers {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td><bdi>{}</bdi></td><td class=\"num\">{}</td><td>{}</td></tr>",
            esc(&offer.platform),
            esc(&offer.version),
            offer.build,
            state(name, offer)
        );
    }
    out.push_str("</tbody>\n</table></div>\n");
    let curves: Vec<&Offer> = channel.offers.iter().filter(|offer| offer.rollout.is_some()).collect();
    if !curves.is_empty() {
        out.push_str("<div class=\"charts\">\n");
        for offer in curves {
            rollout_figure(out, name, offer);
        }
        out.push_str("</div>\n");
    }
    out.push_str("</section>\n");
}

fn state(channel: &str, offer: &Offer) -> String {
    if offer.is_halted {
        return "<span class=\"warn\">nobody: halted</span>".to_owned();
    }
    if offer.is_bad {
        return "<span class=\"warn\">nobody: marked as bad</span>".to_owned();
    }
    match &offer.rollout {
        None => "everybody".to_owned(),
        Some(rollout) => format!(
            "<span class=\"state\" data-of=\"{}\">a growing share, since {}</span>",
            rollout_id(channel, &offer.platform),
            when(rollout.start)
        ),
    }
}

fn rollout_id(channel: &str, platform: &str) -> String {
    format!("r-{channel}--{platform}")
}

fn rollout_figure(out: &mut String, channel: &str, offer: &Offer) {
    let Some(rollout) = &offer.rollout else { return };
    let (id, version) = (rollout_id(channel, &offer.platform), &offer.version);
    let title = format!("Rollout of {version} on {}", offer.platform);
    let points: Vec<String> = rollout
        .curve
        .iter()
        .map(|(at, share)| format!("{} % from {}", percent(*share), moment(rollout.start, *at)))
        .collect();
    let description = format!("Share of installs it is offered to: {}", points.join(", "));
    let names = Names { id: &id, title: &title, description: &description };
    let drawing = charts::rollout(names, rollout);
    let _ = writeln!(
        out,
        "<figure><figcaption>{}</figcaption>{drawing}<p class=\"muted\">{}</p></figure>",
        esc(&title),
        esc(&points.join(", "))
    );
}

fn moment(start: Time, after_seconds: u64) -> String {
    let text = start.plus(i64::try_from(after_seconds).unwrap_or(i64::MAX)).to_string();
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

fn platform_card(out: &mut String, platform: &Platform, channels: &[Channel]) {
    let name = &platform.name;
    let _ = writeln!(out, "<section class=\"card\" aria-labelledby=\"p-{name}\">\n<h3 id=\"p-{name}\">{name}</h3>");
    if platform.count > platform.releases.len() {
        let _ = writeln!(
            out,
            "<p class=\"muted\">The newest {} of {} releases.</p>",
            platform.releases.len(),
            platform.count
        );
    }
    sizes(out, platform);
    map(out, platform);
    if let Some(latest) = &platform.latest {
        update(out, latest);
    }
    releases(out, platform, channels);
    out.push_str("</section>\n");
}

fn sizes(out: &mut String, platform: &Platform) {
    let label = |told: &Told| format!("{} ({})", told.version, told.build);
    let full = |told: &Told| told.sizes.map(|sizes| sizes.1);
    let update = |told: &Told| told.packs.iter().max().map(|pack| pack.1);
    let kinds: [(&str, &str, &dyn Fn(&Told) -> Option<u64>); 2] =
        [("full", "Full download", &full), ("update", "Update from the release before", &update)];
    out.push_str("<div class=\"charts\">\n");
    for (class, title, value) in kinds {
        let bars: Vec<Bar> =
            platform.releases.iter().map(|told| Bar { label: label(told), bytes: value(told) }).collect();
        let id = format!("{class}-{}", platform.name);
        let description = match (
            bars.iter().filter_map(|bar| bar.bytes).next_back(),
            bars.iter().filter_map(|bar| bar.bytes).max(),
        ) {
            (Some(last), Some(max)) => format!("{title} of each release: now {}, at most {}", bytes(last), bytes(max)),
            _ => format!("{title}: none yet"),
        };
        let names = Names { id: &id, title: &format!("{title}, {}", platform.name), description: &description };
        let _ = writeln!(out, "<figure><figcaption>{title}</figcaption>{}</figure>", charts::bars(names, class, &bars));
    }
    out.push_str("</div>\n");
}

/// Base by target release: what the pack takes of the full download.
fn map(out: &mut String, platform: &Platform) {
    let targets: Vec<&Told> =
        platform.releases.iter().rev().filter(|told| !told.packs.is_empty()).take(MAP_TARGETS).collect();
    let mut bases: Vec<u64> = targets.iter().flat_map(|told| told.packs.iter().map(|pack| pack.0)).collect();
    bases.sort_unstable_by(|a, b| b.cmp(a));
    bases.dedup();
    bases.truncate(MAP_BASES);
    if bases.is_empty() {
        return;
    }
    let version =
        |build: u64| platform.releases.iter().find(|told| told.build == build).map_or("", |told| &told.version);
    let head = |build: u64| match version(build) {
        "" => format!("build {build}"),
        version => format!("<bdi>{}</bdi>", esc(version)),
    };
    let _ = write!(
        out,
        "<h4>Updates by pack</h4>\n<div class=\"scroll\" role=\"region\" aria-label=\"Updates by pack, {}\" tabindex=\"0\"><table class=\"heat\">\n\
         <caption>What an update takes of the full download, from each release (rows) to each release (columns).</caption>\n\
         <thead><tr><th scope=\"col\">from \\ to</th>",
        platform.name
    );
    for told in targets.iter().rev() {
        let _ = write!(out, "<th scope=\"col\">{}</th>", head(told.build));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for base in bases.iter().rev() {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", head(*base));
        for told in targets.iter().rev() {
            out.push_str(&map_cell(*base, told));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}

fn map_cell(base: u64, told: &Told) -> String {
    let pack = told.packs.iter().find(|pack| pack.0 == base).map(|pack| pack.1);
    match (pack, told.sizes) {
        (None, _) if base >= told.build => "<td class=\"blank\"></td>".to_owned(),
        (None, _) => "<td class=\"none\" title=\"no pack: by objects\">–</td>".to_owned(),
        (Some(pack), None) => format!("<td>{}</td>", bytes(pack)),
        (Some(pack), Some((_, full))) => {
            let permille = (u128::from(pack) * 1000 / u128::from(full.max(1))) as u64;
            let heat = [10, 30, 80, 200, 450].iter().filter(|limit| permille >= **limit).count();
            format!("<td class=\"h{heat}\" title=\"{} of {}\">{} %</td>", bytes(pack), bytes(full), percent(permille))
        }
    }
}

fn update(out: &mut String, told: &Explanation) {
    let _ = write!(
        out,
        "<h4>The update from <bdi>{}</bdi> to <bdi>{}</bdi></h4>\n<p>{} of {} in full. Files: {} unchanged, {} changed, {} gone.</p>\n",
        esc(&told.base.1),
        esc(&told.target.1),
        bytes(told.download_bytes),
        bytes(told.full_bytes),
        told.unchanged,
        told.parts.len(),
        told.removed.len()
    );
    if told.way == Way::Same || told.parts.is_empty() {
        return;
    }
    out.push_str("<table>\n<caption>What takes most of it</caption>\n<thead><tr><th scope=\"col\">File</th><th scope=\"col\">How</th>");
    out.push_str("<th scope=\"col\" class=\"num\">Bytes</th><th scope=\"col\" class=\"num\">Share</th><td class=\"share\"></td></tr></thead>\n<tbody>\n");
    let share = |bytes: u64| (u128::from(bytes) * 1000 / u128::from(told.download_bytes.max(1))) as u64;
    let mut row = |name: &str, how: &str, taken: u64| {
        let permille = share(taken);
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{name}</th><td>{how}</td><td class=\"num\">{}</td><td class=\"num\">{} %</td>\
             <td class=\"share\"><span class=\"bar\" style=\"width:{}%\"></span></td></tr>",
            bytes(taken),
            if permille == 0 && taken > 0 { "&lt;0.1".to_owned() } else { percent(permille) },
            percent(permille)
        );
    };
    let shown = told.parts.len().min(PARTS_SHOWN);
    for part in &told.parts[..shown] {
        row(&format!("<bdi>{}</bdi>", esc(&part.path)), &esc(&part.how_text()), part.download_bytes);
    }
    if let rest @ [_, ..] = &told.parts[shown..] {
        row(&format!("{} more", rest.len()), "", rest.iter().map(|part: &Part| part.download_bytes).sum());
    }
    row("list of changes", "", told.directory_bytes);
    out.push_str("</tbody>\n</table>\n");
    let advice: Vec<String> = told
        .parts
        .iter()
        .filter_map(|part| part.advice.as_ref())
        .map(|advice| format!("<li>{}</li>", esc(&advice.text)))
        .collect();
    if !advice.is_empty() {
        let _ = writeln!(out, "<h4>What would make it smaller</h4>\n<ul>{}</ul>", advice.join("\n"));
    }
}

fn releases(out: &mut String, platform: &Platform, channels: &[Channel]) {
    let _ = write!(
        out,
        "<h4>Releases</h4>\n<div class=\"scroll\" role=\"region\" aria-label=\"Releases, {}\" tabindex=\"0\"><table>\n<thead><tr>\
         <th scope=\"col\">Version</th><th scope=\"col\" class=\"num\">Build</th><th scope=\"col\">Made</th>\
         <th scope=\"col\" class=\"num\">Installed</th><th scope=\"col\" class=\"num\">Full</th><th scope=\"col\">Channel</th>\
         <th scope=\"col\">Proved</th></tr></thead>\n<tbody>\n",
        platform.name
    );
    for told in platform.releases.iter().rev().take(RELEASES_LISTED) {
        let offers = |channel: &&Channel| {
            channel
                .offers
                .iter()
                .any(|offer| (offer.platform.as_str(), offer.build) == (platform.name.as_str(), told.build))
        };
        let on: Vec<&str> = channels.iter().filter(offers).map(|channel| channel.name.as_str()).collect();
        let size = |size: Option<u64>| size.map_or_else(|| "–".to_owned(), bytes);
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\"><bdi>{}</bdi></th><td class=\"num\">{}</td><td class=\"nowrap\">{}</td><td class=\"num\">{}</td>\
             <td class=\"num\">{}</td><td>{}</td><td>{}</td></tr>",
            esc(&told.version),
            told.build,
            date(told.issued),
            size(told.sizes.map(|sizes| sizes.0)),
            size(told.sizes.map(|sizes| sizes.1)),
            on.join(", "),
            proved(told)
        );
    }
    out.push_str("</tbody>\n</table></div>\n");
    out.push_str("<p class=\"muted\">Proved: before the release appeared, the client's own code installed it afresh and updated to it ");
    out.push_str("from these builds, and every file was read back. A dash: no record of it here; <code>publisher verify</code> tries every way again.</p>\n");
}

fn proved(told: &Told) -> String {
    match told.proved.as_deref() {
        None => "–".to_owned(),
        Some([]) => "install".to_owned(),
        Some(bases) => format!("install; from {}", bases.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// A time that ends something; the script adds the days that are left, and warns below `warn_days`.
fn ends(time: Time, warn_days: u64) -> String {
    format!("<time datetime=\"{time}\" data-ends=\"{warn_days}\">{}</time>", date(time))
}

fn when(time: Time) -> String {
    format!("<time datetime=\"{time}\">{}</time>", date(time))
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Permille in percent, with a decimal where it matters.
fn percent(permille: u64) -> String {
    match (permille / 10, permille % 10) {
        (whole, 0) => whole.to_string(),
        (whole, _) if whole >= 10 => whole.to_string(),
        (whole, tenth) => format!("{whole}.{tenth}"),
    }
}

/// Bytes for people, in decimal units with about three digits.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            let tenths = (u128::from(bytes) * 10 / u128::from(unit)) as u64;
            return match tenths % 10 {
                0 => format!("{} {name}", tenths / 10),
                _ if tenths >= 1000 => format!("{} {name}", tenths / 10),
                tenth => format!("{}.{tenth} {name}", tenths / 10),
            };
        }
    }
    format!("{bytes} B")
}

/// Text that others wrote, as it stands in HTML and in attributes between double quotes.
pub fn esc(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use lamplighter_client::format::head::Rollout;

    use super::*;

    fn page(text: &str) -> Page {
        let start = Time::from_seconds(1_800_000_000);
        let rollout = Rollout {
            platform: "linux".to_owned(),
            start,
            salt: text.to_owned(),
            curve: vec![(0, 100), (86_400, 1000)],
        };
        let offer = Offer {
            platform: "linux".to_owned(),
            build: 2,
            version: text.to_owned(),
            is_halted: false,
            is_bad: false,
            rollout: Some(rollout),
        };
        let told = |build: u64, packs| Told {
            build,
            version: format!("{text}{build}"),
            issued: start,
            sizes: Some((5_000_000, 2_000_000)),
            packs,
            proved: (build == 2).then(|| vec![1]),
        };
        let channel = Channel {
            name: "stable".to_owned(),
            sequence: 3,
            dates: (start, start.plus(604_800)),
            offers: vec![offer],
        };
        let releases = vec![told(1, vec![]), told(2, vec![(1, 70_000)])];
        let platform = Platform { name: "linux".to_owned(), count: 2, releases, latest: None };
        Page {
            app: text.to_owned(),
            root: (1, start),
            channels: vec![channel],
            platforms: vec![platform],
            troubles: vec![text.to_owned()],
        }
    }

    #[test]
    fn the_page_tells_what_the_site_holds() {
        let html = render(&page("1."));
        for part in [
            "2 releases on 1 platform, 1 channel.",
            "data-ends=\"",
            "title=\"70 kB of 2 MB\">3.5 %</td>",
            "install; from 1",
            "10 % from 2027-01-15 08:00, 100 % from 2027-01-16 08:00",
            "<td>stable</td>",
        ] {
            assert!(html.contains(part), "{part:?} in {html}");
        }
        assert_eq!(html, render(&page("1.")));
    }

    #[test]
    fn nothing_others_wrote_is_markup() {
        let html = render(&page("<script>\"'&"));
        assert_eq!(html.matches("<script>").count(), 1, "the page's own");
        assert!(html.contains("&lt;script&gt;&quot;&#39;&amp;"));
        let plain = render(&page("x"));
        for sign in ['<', '>', '"', '\''] {
            assert_eq!(html.matches(sign).count(), plain.matches(sign).count(), "{sign}");
        }
    }

    #[test]
    fn nothing_is_asked_of_others() {
        let html = render(&page("x"));
        for word in ["http:", "https:", "src=", "url(", "@import", "fetch"] {
            assert!(!html.contains(word), "{word}");
        }
    }

    #[test]
    fn numbers_are_short() {
        let said = [0, 999, 1000, 1050, 1_234_567, 99_950_000, 123_456_789, u64::MAX].map(bytes);
        assert_eq!(said, ["0 B", "999 B", "1 kB", "1 kB", "1.2 MB", "99.9 MB", "123 MB", "18446744 TB"]);
        assert_eq!([0, 5, 10, 35, 105, 1000].map(percent), ["0", "0.5", "1", "3.5", "10", "100"]);
    }
}
