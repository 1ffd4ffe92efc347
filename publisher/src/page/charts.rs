//! Drawings as SVG, pure: numbers in, text out. Every drawing has a title and a description for those who cannot see it.

use std::fmt::Write;

use lamplighter_client::format::head::Rollout;
use lamplighter_client::format::text::Time;

use super::html::{bytes, esc};

/// Drawings are this wide in their own units: about that of a phone, so that letters keep their size there.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 168.0;
/// Where axes leave room for their words.
const LEFT: f64 = 58.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// One bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// What it stands for.
    pub label: String,
    /// How much, in bytes; none where that is not known.
    pub bytes: Option<u64>,
}

/// Names of a drawing: of its element, its title, its description.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Unique in the page.
    pub id: &'a str,
    /// What it shows.
    pub title: &'a str,
    /// What is to be seen.
    pub description: &'a str,
}

/// Bars side by side on an axis of bytes that begins at 0.
pub fn bars(names: Names<'_>, class: &str, bars: &[Bar]) -> String {
    let max = bars.iter().filter_map(|bar| bar.bytes).max().unwrap_or_default().max(1);
    let step = axis_step(max);
    let top = max.div_ceil(step) * step;
    let (plot_width, plot_height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let y = |value: u64| TOP + plot_height * (1.0 - value as f64 / top as f64);
    let mut svg = open(names, "");
    for line in (0..=top / step).map(|n| n * step) {
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{0:.1}" y1="{1:.1}" y2="{1:.1}"/>"#,
            WIDTH - RIGHT,
            y(line)
        );
        let _ =
            write!(svg, r#"<text class="end" x="{:.1}" y="{:.1}">{}</text>"#, LEFT - 6.0, y(line) + 4.0, bytes(line));
    }
    let pitch = plot_width / bars.len().max(1) as f64;
    let width = (pitch * 0.7).min(28.0);
    for (index, bar) in bars.iter().enumerate() {
        let middle = LEFT + pitch * (index as f64 + 0.5);
        if let Some(value) = bar.bytes {
            let height = (TOP + plot_height - y(value)).max(1.0);
            let _ = write!(
                svg,
                r#"<rect class="{class}" x="{:.1}" y="{:.1}" width="{width:.1}" height="{height:.1}" rx="1.5"><title>{}: {}</title></rect>"#,
                middle - width / 2.0,
                TOP + plot_height - height,
                esc(&bar.label),
                bytes(value)
            );
        }
    }
    ends(&mut svg, bars.first().map(|bar| &*bar.label), bars.last().filter(|_| bars.len() > 1).map(|bar| &*bar.label));
    svg.push_str("</svg>");
    svg
}

/// A rollout's shares over time, with a marker that the page's script puts where now is.
pub fn rollout(names: Names<'_>, rollout: &Rollout) -> String {
    let last = rollout.curve.last().map_or(0, |point| point.0);
    let span = (last + last / 6).max(86_400);
    let (plot_width, plot_height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let x = |seconds: u64| LEFT + plot_width * seconds as f64 / span as f64;
    let y = |permille: u64| TOP + plot_height * (1.0 - permille as f64 / 1000.0);
    let curve: Vec<String> = rollout.curve.iter().map(|(at, share)| format!("{at}:{share}")).collect();
    let data = format!(
        r#" data-start="{}" data-span="{span}" data-left="{LEFT}" data-width="{plot_width}" data-curve="{}""#,
        rollout.start.seconds(),
        curve.join(" ")
    );
    let mut svg = open(names, &data);
    for share in [0, 250, 500, 750, 1000] {
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{0:.1}" y1="{1:.1}" y2="{1:.1}"/>"#,
            WIDTH - RIGHT,
            y(share)
        );
        if share % 500 == 0 {
            let _ = write!(
                svg,
                r#"<text class="end" x="{:.1}" y="{:.1}">{} %</text>"#,
                LEFT - 6.0,
                y(share) + 4.0,
                share / 10
            );
        }
    }
    let mut path = format!("M{LEFT:.1} {:.1}", y(0));
    for (at, share) in &rollout.curve {
        let _ = write!(path, "H{:.1}V{:.1}", x(*at), y(*share));
    }
    let _ = write!(path, "H{:.1}", WIDTH - RIGHT);
    let _ = write!(svg, r#"<path class="area" d="{path}V{:.1}H{LEFT}Z"/><path class="curve" d="{path}"/>"#, y(0));
    let _ = write!(
        svg,
        r#"<g class="now"><line y1="{TOP}" y2="{:.1}"/><text x="5" y="{:.1}"></text></g>"#,
        TOP + plot_height,
        TOP + 10.0
    );
    let day = |seconds: u64| date(rollout.start.plus(i64::try_from(seconds).unwrap_or(i64::MAX)));
    ends(&mut svg, Some(&day(0)), Some(&day(span)));
    svg.push_str("</svg>");
    svg
}

/// The day of a time.
pub fn date(time: Time) -> String {
    time.to_string().chars().take(10).collect()
}

fn open(names: Names<'_>, more: &str) -> String {
    let Names { id, title, description } = names;
    format!(
        r#"<svg id="{id}" role="img" aria-labelledby="{id}-t {id}-d" viewBox="0 0 {WIDTH} {HEIGHT}"{more}><title id="{id}-t">{}</title><desc id="{id}-d">{}</desc>"#,
        esc(title),
        esc(description)
    )
}

/// Words below the first and the last of what is drawn.
fn ends(svg: &mut String, first: Option<&str>, last: Option<&str>) {
    let y = HEIGHT - 7.0;
    if let Some(first) = first {
        let _ = write!(svg, r#"<text x="{LEFT}" y="{y}">{}</text>"#, esc(&short(first)));
    }
    if let Some(last) = last {
        let _ = write!(svg, r#"<text class="end" x="{}" y="{y}">{}</text>"#, WIDTH - RIGHT, esc(&short(last)));
    }
}

fn short(text: &str) -> String {
    const LETTERS: usize = 20;
    match text.chars().count() {
        0..=LETTERS => text.to_owned(),
        _ => text.chars().take(LETTERS - 1).chain(['…']).collect(),
    }
}

/// The step of an axis up to `max`: 1, 2 or 5 and zeros, so that there are at most four.
fn axis_step(max: u64) -> u64 {
    let mut unit = 1u64;
    loop {
        for step in [1, 2, 5].map(|n| unit.saturating_mul(n)) {
            if max.div_ceil(step) <= 4 {
                return step;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names { id: "a", title: "t", description: "d" };

    #[test]
    fn axes_have_round_steps_and_room_for_the_largest() {
        assert_eq!([1, 4, 5, 9, 45, 100, 4_000_000, u64::MAX].map(axis_step)[..7], [1, 1, 2, 5, 20, 50, 1_000_000]);
        assert!(axis_step(u64::MAX) > 0);
    }

    #[test]
    fn bars_are_as_high_as_their_numbers() {
        let bar = |bytes| Bar { label: "<1>".to_owned(), bytes };
        let svg = bars(NAMES, "full", &[bar(Some(400)), bar(None), bar(Some(100))]);
        assert!(svg.contains(r#"height="134.0""#) && svg.contains(r#"height="33.5""#), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 2);
        assert!(svg.contains("&lt;1&gt;: 400 B") && !svg.contains("<1>"), "{svg}");
        assert!(bars(NAMES, "full", &[]).ends_with("</svg>"));
    }

    #[test]
    fn a_rollout_climbs_where_its_curve_does() {
        let rollout_of = |curve: Vec<(u64, u64)>| {
            let (platform, salt) = ("*".to_owned(), "s".to_owned());
            rollout(NAMES, &Rollout { platform, start: Time::from_seconds(0), salt, curve })
        };
        let svg = rollout_of(vec![(0, 100), (86_400, 500), (172_800, 1000)]);
        // The span is 201,600 s on 294 units: a day is 126.
        assert!(svg.contains("M58.0 144.0H58.0V130.6H184.0V77.0H310.0V10.0H352.0"), "{svg}");
        assert!(svg.contains(r#"data-curve="0:100 86400:500 172800:1000""#) && svg.contains("1970-01-03"), "{svg}");
        assert!(rollout_of(Vec::new()).ends_with("</svg>"));
    }
}
