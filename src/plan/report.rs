//! A plan as `orch plan` shows it.

use std::fmt::Write;

use super::steps::{Plan, Step};

/// More changed keys than this are counted, not listed, for people.
const KEYS_SHOWN: usize = 4;
/// A column that is wider than this leaves the following ones out of line.
const WIDEST_COLUMN: usize = 40;

impl Plan {
    /// One line a step: what is done, to which component, the keys that have changed, and why. Ends with a
    /// line feed.
    #[must_use]
    pub fn to_text(&self) -> String {
        steps_text(&self.project, self.steps.iter().map(Step::row))
    }
}

/// A step by its words, whoever has them.
#[derive(Debug, Clone, Copy)]
pub struct Row<'s> {
    /// What is done, as [`StepAction::word`](super::StepAction::word) has it.
    pub action: &'s str,
    /// To which component.
    pub component: &'s str,
    /// The key paths that have changed.
    pub changed: &'s [String],
    /// Why.
    pub reason: &'s str,
}

/// The text of [`Plan::to_text`], where `project` are the changed keys of the project itself.
pub fn steps_text<'s>(project: &[String], steps: impl Iterator<Item = Row<'s>>) -> String {
    let mut rows: Vec<[String; 4]> = Vec::new();
    if !project.is_empty() {
        let reason = "effective at once; no process is touched".to_owned();
        rows.push(["update".into(), "(project)".into(), listed(project), reason]);
    }
    rows.extend(steps.map(Row::columns));
    if rows.is_empty() { "nothing changes\n".into() } else { table(&rows) }
}

impl Row<'_> {
    fn columns(self) -> [String; 4] {
        [self.action, self.component, &listed(self.changed), self.reason].map(plain)
    }
}

impl Step {
    fn row(&self) -> Row<'_> {
        let (action, component) = (self.action.word(), self.component.as_str());
        Row { action, component, changed: &self.changed, reason: &self.reason }
    }
}

/// A name of a variable may hold anything, so control characters are escaped.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

/// The keys, separated by commas.
fn listed(changed: &[String]) -> String {
    let shown: Vec<&str> = changed.iter().take(KEYS_SHOWN).map(String::as_str).collect();
    let mut text = shown.join(", ");
    if changed.len() > KEYS_SHOWN {
        // Writing to a string does not fail.
        let _ = write!(text, " and {} more", changed.len() - KEYS_SHOWN);
    }
    text
}

fn table(rows: &[[String; 4]]) -> String {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.filter(|width| *width <= WIDEST_COLUMN).max().unwrap_or(0)
    };
    let [first, second, third] = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [action, component, keys, reason] in rows {
        let gap = if third == 0 { "" } else { "  " };
        let _ = writeln!(text, "{action:first$}  {component:second$}  {keys:third$}{gap}{reason}");
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::plan::plan;
    use crate::plan::testing::{edit, project};

    #[test]
    fn an_edit_as_people_and_scripts_see_it() {
        let old = project("db; api: db; web: api restart; old");
        let mut new = project("db; api: db; web: api restart; worker: db");
        new.shutdown_timeout *= 2;
        edit(&mut new, "db", |c| c.description = Some("Postgres".into()));
        edit(&mut new, "api", |c| {
            c.stdin = crate::config::model::Stdin::Open;
            for name in ["A", "B", "C", "D\u{1b}[31m"] {
                c.env.own.insert(name.into(), None);
            }
        });
        let found = plan(&old, &new);
        let expected = "\
update   (project)  shutdown_timeout  effective at once; no process is touched
stop     old                          it is no longer in the file
update   db         description       effective when next used
restart  api        env.A, env.B, env.C, env.D\\u{1b}[31m and 1 more  its environment and standard input changed
start    worker                       it is new in the file
restart  web                          it restarts whenever api does
";
        assert_eq!(found.to_text(), expected);
        assert_eq!(found.steps[2].changed.len(), 5, "programs are told all of them");
        assert_eq!(plan(&new, &new).to_text(), "nothing changes\n");
        assert!(plan(&new, &new).steps.is_empty());
    }

    #[test]
    fn columns_without_content_take_no_room() {
        let text = plan(&project(""), &project("a; bb")).to_text();
        assert_eq!(text, "start  a   it is new in the file\nstart  bb  it is new in the file\n");
    }
}
