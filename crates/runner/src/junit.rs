//! JUnit reports as they are written by a dozen tools, none of which agree: what is
//! needed is read, what is not known is passed over.
//!
//! A report comes from a build, so nobody trusts it. Its size is known before it is
//! read; elements are counted and depth is bounded before anything is kept, names and
//! messages are cut, and no entity is expanded but the five of XML and numbers.

use event::{TestCase, TestResult};
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

/// Tests of one attempt.
pub(crate) const MOST_TESTS: usize = 200_000;
/// Elements in elements.
const DEEPEST: usize = 64;
const LONGEST_NAME: usize = 512;
const LONGEST_MESSAGE: usize = 8 << 10;

/// Reads the tests of a report into `cases`, and says why not all of it could be read.
pub(crate) fn read(report: &str, cases: &mut Vec<TestCase>) -> Result<(), String> {
    let mut reader = Reader::from_str(report.trim_start_matches('\u{feff}'));
    reader.config_mut().check_end_names = false;
    let mut reading = Reading::default();
    loop {
        let event = reader.read_event();
        let at = reader.buffer_position();
        match event {
            Ok(Event::Start(element)) => {
                reading.depth += 1;
                if reading.depth > DEEPEST {
                    return Err(format!("more than {DEEPEST} elements in each other"));
                }
                reading.begin(&element, cases)?;
            }
            Ok(Event::Empty(element)) => {
                reading.begin(&element, cases)?;
                reading.end(element.local_name().as_ref(), cases);
            }
            Ok(Event::End(element)) => {
                reading.depth = reading.depth.saturating_sub(1);
                reading.end(element.local_name().as_ref(), cases);
            }
            Ok(Event::Text(text)) => reading.text(&text.xml10_content()),
            Ok(Event::CData(text)) => reading.text(&text.xml10_content()),
            Ok(Event::GeneralRef(reference)) => {
                let name = reference.xml10_content().into_owned();
                match reference.resolve_char_ref() {
                    Ok(Some(character)) => reading.text(character.encode_utf8(&mut [0; 4])),
                    _ => match resolve_predefined_entity(&name) {
                        Some(text) => reading.text(text),
                        None => reading.text(&format!("&{name};")),
                    },
                }
            }
            Ok(Event::Eof) if reading.roots == 0 => return Err("it is no XML".to_owned()),
            Ok(Event::Eof) if reading.depth > 0 => {
                return Err("it ends in the middle".to_owned());
            }
            Ok(Event::Eof) => return Ok(()),
            Ok(Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_)) => {}
            Err(error) => return Err(format!("{error} (byte {at})")),
        }
    }
}

#[derive(Default)]
struct Reading {
    depth: usize,
    roots: usize,
    /// The innermost suite that has a name.
    suite: String,
    /// The test we are in.
    case: Option<TestCase>,
    /// Text of what made it fail, while we are in that.
    message: Option<String>,
}

impl Reading {
    fn begin(&mut self, element: &BytesStart<'_>, cases: &[TestCase]) -> Result<(), String> {
        self.roots += 1;
        match element.local_name().as_ref() {
            "testsuite" => {
                if let Some(name) = attribute(element, "name", LONGEST_NAME) {
                    self.suite = name;
                }
            }
            "testcase" => {
                if cases.len() >= MOST_TESTS {
                    return Err(format!("there are more than {MOST_TESTS} tests"));
                }
                let class = attribute(element, "classname", LONGEST_NAME);
                self.case = Some(TestCase {
                    name: attribute(element, "name", LONGEST_NAME).unwrap_or_default(),
                    class: class.unwrap_or_else(|| self.suite.clone()),
                    result: TestResult::Passed,
                    duration_ms: milliseconds(attribute(element, "time", 64)),
                    message: None,
                });
            }
            name => {
                let result = match name {
                    "failure" => TestResult::Failed,
                    "error" => TestResult::Error,
                    "skipped" => TestResult::Skipped,
                    _ => return Ok(()),
                };
                let Some(case) = &mut self.case else { return Ok(()) };
                // Of several the worst counts, with its own words.
                if case.result == TestResult::Passed || result == TestResult::Error {
                    case.result = result;
                    case.message = attribute(element, "message", LONGEST_MESSAGE);
                    self.message = Some(String::new());
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, name: &str, cases: &mut Vec<TestCase>) {
        match name {
            "testcase" => {
                self.message = None;
                cases.extend(self.case.take());
            }
            "failure" | "error" | "skipped" => {
                let (Some(text), Some(case)) = (self.message.take(), &mut self.case) else {
                    return;
                };
                let text = text.trim();
                match &mut case.message {
                    _ if text.is_empty() => {}
                    // Many tools say it twice.
                    Some(message) if text.contains(message.trim()) => text.clone_into(message),
                    Some(message) => *message = cut(&format!("{message}\n{text}"), LONGEST_MESSAGE),
                    none => *none = Some(text.to_owned()),
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if let Some(message) = &mut self.message
            && message.len() < LONGEST_MESSAGE
        {
            message.push_str(&cut(text, LONGEST_MESSAGE - message.len()));
        }
    }
}

fn attribute(element: &BytesStart<'_>, name: &str, longest: usize) -> Option<String> {
    let mut attributes = element.attributes();
    let mut found = attributes.with_checks(false).filter_map(Result::ok);
    let value = found.find(|found| found.key.local_name().as_ref() == name)?.value.into_owned();
    let unescaped = quick_xml::escape::unescape(&value);
    Some(cut(&unescaped.map_or_else(|_| value.clone(), |text| text.into_owned()), longest))
}

/// Seconds with a point, and thousands set off with commas, as some write them.
fn milliseconds(time: Option<String>) -> u64 {
    let seconds: f64 =
        time.and_then(|time| time.replace(',', "").trim().parse().ok()).unwrap_or(0.0);
    if !(0.0..1e9).contains(&seconds) {
        return 0;
    }
    u64::try_from(std::time::Duration::from_secs_f64(seconds).as_millis()).unwrap_or(0)
}

fn cut(text: &str, longest: usize) -> String {
    text[..text.floor_char_boundary(longest)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a report says, a line each; the last one is why it broke off.
    fn told(report: &str) -> Vec<String> {
        let mut cases = Vec::new();
        let read = read(report, &mut cases);
        let mut told: Vec<String> = cases
            .iter()
            .map(|TestCase { name, class, result, duration_ms, message }| {
                let message = message.as_deref().unwrap_or("-");
                format!("{class}.{name} {} {duration_ms} {message}", result.name())
            })
            .collect();
        told.extend(read.err());
        told
    }

    #[test]
    fn a_report_of_surefire_is_read() {
        let report = r#"<?xml version="1.0" encoding="UTF-8"?>
            <testsuite xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" name="com.OrderTest" time="1,004.5" tests="4">
              <properties><property name="a" value="b"/></properties>
              <testcase name="adds &lt;one&gt;" classname="com.OrderTest" time="0.012"/>
              <testcase name="fails" classname="com.OrderTest" time="1,004.5">
                <failure message="expected:&lt;1&gt; but was:&lt;2&gt;" type="AssertionError"><![CDATA[java.lang.AssertionError: expected:<1> but was:<2>
	at com.OrderTest.fails(OrderTest.java:9)]]></failure>
                <system-out>noise</system-out>
              </testcase>
              <testcase name="breaks" classname="com.OrderTest" time="0"><error type="NullPointerException">at &#x41; &amp; &other;</error></testcase>
              <testcase name="waits" classname="com.OrderTest"><skipped message="later"/></testcase>
            </testsuite>"#;
        assert_eq!(
            told(report),
            [
                "com.OrderTest.adds <one> passed 12 -",
                "com.OrderTest.fails failed 1004500 java.lang.AssertionError: expected:<1> but was:<2>\n\tat com.OrderTest.fails(OrderTest.java:9)",
                "com.OrderTest.breaks error 0 at A & &other;",
                "com.OrderTest.waits skipped 0 later",
            ]
        );
    }

    #[test]
    fn what_other_tools_leave_out_is_taken_from_around() {
        let report = r"<testsuites><testsuite name='pkg/a'><testsuite><testcase name='x'/></testsuite>
            <testcase name='y' time='-1'><rerunFailure>once</rerunFailure></testcase></testsuite></testsuites>";
        assert_eq!(told(report), ["pkg/a.x passed 0 -", "pkg/a.y passed 0 -"]);
    }

    #[test]
    fn of_a_report_that_breaks_off_the_beginning_counts() {
        let broken = "<testsuite><testcase name='a'/><testcase name='b'><failure>x";
        assert_eq!(told(broken), [".a passed 0 -", "it ends in the middle"]);
        assert_eq!(told(""), ["it is no XML"]);
        assert!(told("<testsuite><testcase name='a'/><")[1].contains("byte"));
    }

    #[test]
    fn a_report_that_means_harm_ends_soon() {
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;\">]><testsuite><testcase name='&c;'><failure>&c;</failure></testcase></testsuite>";
        assert_eq!(told(bomb), [".&c; failed 0 &c;"]);
        let deep = "<a>".repeat(10_000);
        assert_eq!(told(&deep), ["more than 64 elements in each other"]);
        let long = format!(
            "<testsuite><testcase name='{}'><failure message='{}'>{}</failure></testcase></testsuite>",
            "n".repeat(10_000),
            "m".repeat(100_000),
            "é".repeat(100_000)
        );
        let mut cases = Vec::new();
        read(&long, &mut cases).unwrap();
        assert_eq!(cases[0].name.len(), LONGEST_NAME);
        assert!(cases[0].message.as_ref().unwrap().len() <= LONGEST_MESSAGE);
        let many = format!("<testsuite>{}</testsuite>", "<testcase/>".repeat(MOST_TESTS + 1));
        let mut cases = Vec::new();
        assert!(read(&many, &mut cases).is_err());
        assert_eq!(cases.len(), MOST_TESTS);
    }
}
