// The tokens worth drafting: those a model writes often. A file of its own beside Medusa heads,
// tern_shortlist.json: {"tokens": [id, ...]}, the most frequent first.
#ifndef TERN_ENGINE_DRAFT_SHORTLIST_H_
#define TERN_ENGINE_DRAFT_SHORTLIST_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/batch.h"

namespace tern {

// The tokens with a count, by falling count, equal ones by rising id. counts[id] is how often the
// model wrote token `id`.
std::vector<TokenId> RankTokens(std::span<const int64_t> counts);

// Empty where there is no such file in `dir`. Throws kBadFile where it does not hold distinct ids
// below `vocab_size`.
std::vector<TokenId> ReadShortlist(const std::string& dir, int32_t vocab_size);

// Removes the file where `tokens` is empty.
void WriteShortlist(const std::string& dir, std::span<const TokenId> tokens);

}  // namespace tern

#endif  // TERN_ENGINE_DRAFT_SHORTLIST_H_
