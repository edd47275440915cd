//! Full-text search in one's own rooms.
//!
//! Words are found here and not by the databases, so that both find the same: runs of letters and digits in lower case.
//! The room of a message is indexed as one more word, so that what other people write costs nothing. It begins with a
//! character that no word has, so that nobody finds it.

use redred_signaling::id::{RoomId, UserId};
use redred_signaling::store::chat::ChatOk;

use super::super::sql::Db;
use super::messages::message_row;
use super::room_id;

/// Longer words are cut: an index takes words of some length only, and nobody types so much of one.
const WORD_CHARACTERS_MAX: usize = 64;

/// What a message is found by, separated by blanks.
pub(super) fn tokens(room: &RoomId, text: &str) -> String {
    let mut tokens = room_token(room);
    for word in words(text) {
        tokens.push(' ');
        tokens.push_str(&word);
    }
    tokens
}

/// Puts other words into the place of those of a message, or takes it out of the index. PostgreSQL keeps them in the row
/// of the message.
pub(super) async fn replace(db: &mut Db, number: u64, tokens: Option<&str>) -> sqlx::Result<()> {
    match db {
        Db::Sqlite(_) => {
            db.query("DELETE FROM message_words WHERE rowid = $1")
                .number(number)
                .execute()
                .await?;
            if let Some(tokens) = tokens {
                db.query("INSERT INTO message_words (rowid, words) VALUES ($1, $2)")
                    .number(number)
                    .bind(tokens)
                    .execute()
                    .await?;
            }
        }
        Db::Postgres(_) => {
            db.query(
                "UPDATE messages SET words = array_to_tsvector(string_to_array($2, ' '))
                 WHERE number = $1",
            )
            .number(number)
            .bind(tokens)
            .execute()
            .await?;
        }
    }
    Ok(())
}

/// The newest messages of the user's rooms with all words; the last word may be the beginning of one.
pub(super) async fn find(
    db: &mut Db,
    user: &UserId,
    text: &str,
    room: Option<&RoomId>,
    before_ms: Option<u64>,
    limit: usize,
) -> sqlx::Result<ChatOk> {
    let rooms = db
        .query("SELECT room FROM members WHERE user_id = $1 AND ($2 IS NULL OR room = $2)")
        .bind(user.as_str())
        .bind(room.map(RoomId::as_str))
        .rows(|row| room_id(row, "room"))
        .await?;
    let words = words(text);
    if rooms.is_empty() || words.is_empty() {
        return Ok(ChatOk::Messages {
            messages: Vec::new(),
            has_more: false,
        });
    }
    // In PostgreSQL the matches are found first: its planner would rather walk through everything, newest first.
    let sql = db.pick(
        "SELECT messages.* FROM message_words JOIN messages ON messages.number = message_words.rowid
         WHERE message_words MATCH $1 AND messages.created_at_ms < $2
         ORDER BY message_words.rowid DESC LIMIT $3",
        "WITH found AS MATERIALIZED (
             SELECT * FROM messages WHERE words @@ $1::text::tsquery AND created_at_ms < $2
         )
         SELECT * FROM found ORDER BY number DESC LIMIT $3",
    );
    let wanted = match db {
        Db::Sqlite(_) => fts_query(&rooms, &words),
        Db::Postgres(_) => ts_query(&rooms, &words),
    };
    let mut messages = db
        .query(sql)
        .bind(wanted)
        .number(before_ms.unwrap_or(u64::MAX))
        .number(limit as u64 + 1)
        .rows(message_row)
        .await?;
    let has_more = messages.len() > limit;
    messages.truncate(limit);
    Ok(ChatOk::Messages { messages, has_more })
}

/// SQLite: `("#room" OR "#other") AND "word" AND "begin"*`.
fn fts_query(rooms: &[RoomId], words: &[String]) -> String {
    let rooms = rooms.iter().map(|room| format!("\"{}\"", room_token(room)));
    let rooms = rooms.collect::<Vec<_>>().join(" OR ");
    let words = words.iter().map(|word| format!(" AND \"{word}\""));
    format!("({rooms}){}*", words.collect::<String>())
}

/// PostgreSQL: `('#room' | '#other') & 'word' & 'begin':*`.
fn ts_query(rooms: &[RoomId], words: &[String]) -> String {
    let rooms = rooms.iter().map(|room| format!("'{}'", room_token(room)));
    let rooms = rooms.collect::<Vec<_>>().join(" | ");
    let words = words.iter().map(|word| format!(" & '{word}'"));
    format!("({rooms}){}:*", words.collect::<String>())
}

fn room_token(room: &RoomId) -> String {
    format!("#{room}")
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().take(WORD_CHARACTERS_MAX).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_letters_and_digits_in_lower_case() {
        let found = words("Ana's 2nd \"STRASSE\" — Größe; a:* OR x");
        let expected = ["ana", "s", "2nd", "strasse", "größe", "a", "or", "x"];
        assert_eq!(found, expected);
        assert_eq!(words(&"é".repeat(100)), ["é".repeat(64)]);
    }

    #[test]
    fn nothing_that_is_searched_for_is_an_operator() {
        let rooms = [RoomId::new("a.b").expect("a valid id")];
        let words = words("NOT \"x' | y");
        let fts = fts_query(&rooms, &words);
        assert_eq!(fts, "(\"#a.b\") AND \"not\" AND \"x\" AND \"y\"*");
        let ts = ts_query(&rooms, &words);
        assert_eq!(ts, "('#a.b') & 'not' & 'x' & 'y':*");
    }
}
