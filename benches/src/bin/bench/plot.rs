//! A plot: lines over two logarithmic axes, as SVG.
//!
//! Why by hand: it is one kind of plot, and it has to open in any browser.
//! Not here: which figures (the benches), where it is kept (`record`).

use grandstand_benches::record::Row;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Pixels.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 60.0;

/// Told apart without colour, too: each line has its name at its end.
const COLOURS: [&str; 4] = ["#1b6ca8", "#c1440e", "#2e7d32", "#6a1b9a"];

/// A line for each value of `by`, through (`x`, `y`) of its rows. Points without a positive figure are left
/// out.
pub(crate) fn lines(rows: &[Row], by: &str, x: &str, y: &str) -> String {
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows {
        let point = (row.number(x), row.number(y));
        if point.0 > 0.0 && point.1 > 0.0 {
            let name = row.get(by).and_then(|name| name.as_str()).unwrap_or_default();
            series.entry(name.to_owned()).or_default().push(point);
        }
    }
    let (across, up) =
        (Axis::of(series.values().flatten().map(|p| p.0)), Axis::of(series.values().flatten().map(|p| p.1)));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    grid(&across, &up, x, y, &mut svg);
    for ((name, points), colour) in series.iter().zip(COLOURS.iter().cycle()) {
        line(name, points, colour, (&across, &up), &mut svg);
    }
    svg + "</svg>\n"
}

/// Powers of ten around the figures.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>) -> Axis {
        let (low, high) =
            values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v.log10()), high.max(v.log10())));
        if low > high {
            return Axis { low: 0.0, high: 1.0 };
        }
        Axis { low: low.floor(), high: high.ceil().max(low.floor() + 1.0) }
    }

    fn share(&self, value: f64) -> f64 {
        (value.log10() - self.low) / (self.high - self.low)
    }

    fn powers(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low as i32..=self.high as i32).map(|power| 10f64.powi(power))
    }
}

fn place((x, y): (f64, f64), across: &Axis, up: &Axis) -> (f64, f64) {
    let x = MARGIN + across.share(x) * (WIDTH - 2.0 * MARGIN);
    (x, HEIGHT - MARGIN - up.share(y) * (HEIGHT - 2.0 * MARGIN))
}

// Writing to a string cannot fail.
fn grid(across: &Axis, up: &Axis, x_name: &str, y_name: &str, svg: &mut String) {
    let (right, bottom) = (WIDTH - MARGIN, HEIGHT - MARGIN);
    for value in across.powers() {
        let (x, _) = place((value, 10f64.powf(up.low)), across, up);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {MARGIN}V{bottom}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value}</text>",
            bottom + 16.0
        );
    }
    for value in up.powers() {
        let (_, y) = place((10f64.powf(across.low), value), across, up);
        let _ = writeln!(
            svg,
            "<path d=\"M{MARGIN} {y:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            MARGIN - 6.0,
            y + 4.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x_name}</text>",
        WIDTH / 2.0,
        HEIGHT - 16.0
    );
    let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"{:.1}\">{y_name}</text>", MARGIN - 16.0);
}

fn line(name: &str, points: &[(f64, f64)], colour: &str, (across, up): (&Axis, &Axis), svg: &mut String) {
    let places: Vec<(f64, f64)> = points.iter().map(|&point| place(point, across, up)).collect();
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
        path.join(" ")
    );
    for (x, y) in &places {
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>");
    }
    if let Some((x, y)) = places.last() {
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{name}</text>", x + 6.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_name_within_the_frame() {
        let row = |name: &str, x: f64, y: f64| {
            Row::new().with("transport", name).with("viewers", x).with("p99_ms", y)
        };
        let rows = [
            row("ws", 100.0, 12.0),
            row("ws", 19_000.0, 250.0),
            row("quic", 100.0, 0.0),
            row("quic", 300.0, 30.0),
        ];
        let svg = lines(&rows, "transport", "viewers", "p99_ms");
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (2, 3), "{svg}");
        assert!(
            svg.contains(">100000<")
                && svg.contains(">1000<")
                && !svg.contains("NaN")
                && !svg.contains("inf"),
            "{svg}"
        );
        assert!(!lines(&[], "transport", "viewers", "p99_ms").contains("NaN"));
    }
}
