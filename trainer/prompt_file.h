// Files of prompts: JSONL with one object a line, a JSON array of them, or plain text with one
// prompt a line.
#ifndef TERN_TRAINER_PROMPT_FILE_H_
#define TERN_TRAINER_PROMPT_FILE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "engine/chat_families.h"

namespace tern {

struct Prompt {
  std::string id;  // field "id" as text; the line's number where there is none
  // Never empty; valid UTF-8. Of a conversation, what its first user message says.
  std::string text;
  size_t line = 0;  // counted from 1; of a JSON array, the object's number
  // What it belongs to: the string "task" or "category" where the line has one, else the file's
  // name without folder and ending.
  std::string task = "";
  std::string file = "";  // as given
  // A conversation without its answers: what is said before each of them (never nothing, and never
  // by an assistant). Empty: `text` is to be continued as it stands.
  std::vector<std::vector<ChatMessage>> turns = {};
  std::string Place() const;  // file and line, for errors
};

// Reads `path`. JSON where the name ends in .jsonl or .json, or the first character that is no
// white space is '{'. What an object is, the first of its keys tells:
//   "messages"       OpenAI's conversation: role (system, developer, user, assistant) and content,
//                    a string or a list of text parts
//   "conversations"  ShareGPT's: from (system, human or user, gpt or assistant) and value
//   "turns"          MT-bench's: a list of what the user says
//   "instruction"    Alpaca's: one user message, "input" below it where that is not empty
//   "prompt", "text" a string to be continued as it stands
// Answers are left out, also where one stands before the user's first message; "developer" is
// "system". Otherwise each line that is not blank is a prompt. Blank lines are skipped, "\r\n" ends
// lines too. At most `limit` prompts are returned (0 = all), but every line is checked: a file with
// a broken line is refused with file and line number. Throws kNotFound, or kBadFile also where
// there is no prompt at all.
std::vector<Prompt> ReadPrompts(const std::string& path, size_t limit = 0);

}  // namespace tern

#endif  // TERN_TRAINER_PROMPT_FILE_H_
