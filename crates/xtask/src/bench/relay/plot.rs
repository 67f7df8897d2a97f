//! The cost of a packet over the number of calls, as a drawing.

use super::programs::Contender;
use super::{Load, Relay, Stage, least};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::path::Path;

/// Points of a curve.
const CALLS: [u32; 9] = [1, 10, 50, 100, 250, 500, 1_000, 2_000, 4_000];
const QUICK: [u32; 2] = [1, 4];
/// Marks of the axis of microseconds.
const STEPS: [f64; 10] = [1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0, 200.0];
/// Size and margins of the drawing.
const WIDE: f64 = 720.0;
const HIGH: f64 = 420.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 30.0;
const RIGHT: f64 = 20.0;
const BOTTOM: f64 = 50.0;

struct Curve {
    name: &'static str,
    colour: &'static str,
    points: Vec<(u32, f64)>,
}

/// Measures and draws into `file`.
///
/// # Errors
/// A run failed, or the file cannot be written.
pub fn draw(stage: &Stage, relay: &Relay, file: &Path) -> Result<()> {
    let calls: &[u32] = if relay.quick { &QUICK } else { &CALLS };
    let curves = [
        ("rtpengine, 1 thread", "#999999", Contender::Rtpengine, 1),
        ("tandem, 1 media thread", "#1f6fb2", Contender::Tandem, 1),
        ("tandem, 2 media threads", "#d1782c", Contender::Tandem, 2),
    ];
    let mut curves =
        curves.map(|(name, colour, who, threads)| (Curve { name, colour, points: vec![] }, who, threads));
    for count in calls {
        for (curve, who, threads) in &mut curves {
            let load = Load { threads: *threads, ..Load::play(*count, "plain", relay.seconds) };
            let mut runs = vec![];
            for round in 1..=relay.rounds {
                runs.push(stage.run(
                    *who,
                    &load,
                    &format!("round {round}, {count} calls, {threads} thread(s)"),
                )?);
            }
            if let Some(us) = least(&runs, "cpu_us_per_packet") {
                curve.points.push((*count, us));
                eprintln!("==> bench: {}, {count} calls: {us:.2} us a packet", curve.name);
            }
        }
    }
    let curves = curves.map(|(curve, ..)| curve);
    std::fs::write(file, svg(&curves)).with_context(|| format!("--plot {}", file.display()))?;
    for curve in &curves {
        let points: Vec<String> =
            curve.points.iter().map(|(calls, us)| format!("{calls}: {us:.2}")).collect();
        println!("{:<24} {}", curve.name, points.join("  "));
    }
    Ok(())
}

fn svg(curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let most_calls = points().map(|(calls, _)| *calls).max().unwrap_or(1).max(10);
    let us = || points().map(|(_, us)| *us);
    // As far as the curves go, to the next number that people count in.
    let least = STEPS.into_iter().rev().find(|step| us().all(|us| us >= *step)).unwrap_or(STEPS[0]);
    let most = STEPS.into_iter().find(|step| *step > least && us().all(|us| us <= *step));
    let most = most.unwrap_or_else(|| us().fold(STEPS[9], f64::max));
    let x =
        |calls: u32| LEFT + (WIDE - LEFT - RIGHT) * f64::from(calls).log10() / f64::from(most_calls).log10();
    let y = |us: f64| HIGH - BOTTOM - (HIGH - TOP - BOTTOM) * (us / least).log10() / (most / least).log10();
    let mut out = String::new();
    let _ = write(&mut out, curves, (most_calls, least, most), x, y);
    out
}

fn write(
    out: &mut String,
    curves: &[Curve],
    (most_calls, least, most): (u32, f64, f64),
    x: impl Fn(u32) -> f64,
    y: impl Fn(f64) -> f64,
) -> std::fmt::Result {
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDE} {HIGH}\" font-family=\"sans-serif\" font-size=\"12\">"
    )?;
    writeln!(out, "<rect width=\"{WIDE}\" height=\"{HIGH}\" fill=\"white\"/>")?;
    let (right, bottom) = (WIDE - RIGHT, HIGH - BOTTOM);
    for us in STEPS.into_iter().filter(|us| (least..=most).contains(us)) {
        let at = y(us);
        writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>"
        )?;
        writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{us}</text>", LEFT - 8.0, at + 4.0)?;
    }
    for calls in
        [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 4_000].into_iter().filter(|c| *c <= most_calls)
    {
        let at = x(calls);
        writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{bottom}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#666666\"/>",
            bottom + 5.0
        )?;
        writeln!(out, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{calls}</text>", bottom + 20.0)?;
    }
    writeln!(out, "<line x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\" stroke=\"#666666\"/>")?;
    writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">calls (G.711 20 ms; above 1,000 the same 100,000 packets a second in longer frames)</text>",
        (LEFT + right) / 2.0,
        HIGH - 10.0
    )?;
    writeln!(out, "<text x=\"{LEFT}\" y=\"{}\">CPU time of the relay, us a packet</text>", TOP - 12.0)?;
    for (place, curve) in curves.iter().enumerate() {
        let line: Vec<String> =
            curve.points.iter().map(|(calls, us)| format!("{:.1},{:.1}", x(*calls), y(*us))).collect();
        let colour = curve.colour;
        writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        )?;
        for (calls, us) in &curve.points {
            writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(*calls),
                y(*us)
            )?;
        }
        let at = TOP + 14.0 + 18.0 * place as f64;
        writeln!(
            out,
            "<rect x=\"{}\" y=\"{}\" width=\"12\" height=\"4\" fill=\"{colour}\"/>",
            right - 190.0,
            at - 6.0
        )?;
        writeln!(out, "<text x=\"{}\" y=\"{at}\">{}</text>", right - 172.0, curve.name)?;
    }
    writeln!(out, "</svg>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawing_has_every_point_within_its_frame() {
        let points = CALLS.iter().map(|calls| (*calls, 84.0 / f64::from(*calls).sqrt() + 6.0)).collect();
        let svg = svg(&[Curve { name: "one", colour: "#123456", points }]);
        assert_eq!(svg.matches("<circle").count(), CALLS.len());
        for part in svg.split("<circle ").skip(1) {
            let number = |key: &str| -> f64 {
                part.split_once(&format!("{key}=\"")).unwrap().1.split('"').next().unwrap().parse().unwrap()
            };
            assert!((LEFT - 0.1..=WIDE - RIGHT + 0.1).contains(&number("cx")), "{part}");
            assert!((TOP - 0.1..=HIGH - BOTTOM + 0.1).contains(&number("cy")), "{part}");
        }
    }
}
