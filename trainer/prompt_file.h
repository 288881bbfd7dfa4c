// Files of prompts: JSONL with one object a line, or plain text with one prompt a line.
#ifndef TERN_TRAINER_PROMPT_FILE_H_
#define TERN_TRAINER_PROMPT_FILE_H_

#include <cstddef>
#include <string>
#include <vector>

namespace tern {

struct Prompt {
  std::string id;    // field "id" as text; the line's number where there is none
  std::string text;  // never empty; valid UTF-8
  size_t line = 0;   // counted from 1
  // What it belongs to: the string "task" or "category" where the line has one, else the file's
  // name without folder and ending.
  std::string task = "";
  std::string file = "";  // as given
};

// Reads `path`. JSONL where the name ends in .jsonl or .json, or the first character that is no
// white space is '{'; then the prompt of a line is the first that it has of: "prompt" or "text" (a
// string), "turns" (its first string), "messages" (the content of the first whose role is "user").
// Otherwise each line that is not blank is a prompt. Blank lines are skipped, "\r\n" ends lines
// too. At most `limit` prompts are returned (0 = all), but every line is checked: a file with a
// broken line is refused with file and line number. Throws kNotFound, or kBadFile also where there
// is no prompt at all.
std::vector<Prompt> ReadPrompts(const std::string& path, size_t limit = 0);

}  // namespace tern

#endif  // TERN_TRAINER_PROMPT_FILE_H_
