#include "engine/prefix_cache.h"

#include <algorithm>

#include "engine/hash.h"

namespace tern {
namespace {

constexpr size_t kBlock = kKvBlock;

std::span<const TokenId> BlockOf(std::span<const TokenId> tokens, size_t index) {
  return tokens.subspan(index * kBlock, kBlock);
}

}  // namespace

uint64_t PrefixCache::Key(int32_t parent, std::span<const TokenId> tokens) {
  return HashBytes(std::as_bytes(tokens), static_cast<uint64_t>(parent + 1));
}

// A hash only finds candidates: the tokens decide.
int32_t PrefixCache::Child(int32_t parent, std::span<const TokenId> tokens) const {
  const auto [begin, end] = children_.equal_range(Key(parent, tokens));
  for (auto at = begin; at != end; ++at) {
    const Node& node = nodes_[static_cast<size_t>(at->second)];
    if (node.parent == parent && std::ranges::equal(node.tokens, tokens)) return at->second;
  }
  return -1;
}

void PrefixCache::Find(std::span<const TokenId> tokens, std::vector<int32_t>& blocks) {
  blocks.clear();
  ++clock_;
  int32_t node = -1;
  for (size_t i = 0; (i + 1) * kBlock < tokens.size(); ++i) {
    node = Child(node, BlockOf(tokens, i));
    if (node < 0) return;
    nodes_[static_cast<size_t>(node)].used = clock_;
    blocks.push_back(nodes_[static_cast<size_t>(node)].block);
  }
}

void PrefixCache::Insert(int32_t sequence, std::span<const TokenId> tokens) {
  ++clock_;
  int32_t parent = -1;
  for (size_t i = 0; (i + 1) * kBlock <= tokens.size(); ++i) {
    const std::span<const TokenId> held = BlockOf(tokens, i);
    const int32_t block = cache_.BlockTable(sequence)[i];
    int32_t node = Child(parent, held);
    if (node < 0) {
      if (free_nodes_.empty()) {
        free_nodes_.push_back(static_cast<int32_t>(nodes_.size()));
        nodes_.emplace_back();
      }
      node = free_nodes_.back();
      free_nodes_.pop_back();
      cache_.Retain(block);
      nodes_[static_cast<size_t>(node)] = {parent, block, 0, clock_, {held.begin(), held.end()}};
      children_.emplace(Key(parent, held), node);
      if (parent >= 0) ++nodes_[static_cast<size_t>(parent)].children;
    } else if (const int32_t known = nodes_[static_cast<size_t>(node)].block; known != block) {
      cache_.Exchange(sequence, static_cast<int32_t>(i), known);
    }
    nodes_[static_cast<size_t>(node)].used = clock_;
    parent = node;
  }
}

void PrefixCache::Forget(int32_t index) {
  Node& node = nodes_[static_cast<size_t>(index)];
  const auto [begin, end] = children_.equal_range(Key(node.parent, node.tokens));
  children_.erase(std::find_if(begin, end, [&](const auto& at) { return at.second == index; }));
  if (node.parent >= 0) --nodes_[static_cast<size_t>(node.parent)].children;
  cache_.Release(node.block);
  node = {};
  free_nodes_.push_back(index);
}

bool PrefixCache::MakeFree(int32_t wanted) {
  while (cache_.FreeBlocks() < wanted) {
    int32_t oldest = -1;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const Node& node = nodes_[i];
      if (node.used == 0 || node.children > 0 || cache_.Users(node.block) > 0) continue;
      if (oldest < 0 || node.used < nodes_[static_cast<size_t>(oldest)].used)
        oldest = static_cast<int32_t>(i);
    }
    if (oldest < 0) return false;
    Forget(oldest);
  }
  return true;
}

}  // namespace tern
