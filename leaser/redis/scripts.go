package redis

// The scripts have KEYS[1] the lease, KEYS[2] the hash of the cluster and ARGV[1] the
// channel. Lua numbers are exact up to 2^53, and no epoch is greater.

// prelude is what the scripts share. A key that holds no string is no lease that anybody
// could have, so that to its former holder it is lost; who acquires is told of it.
// Who may not publish is no worse off than one who polls.
const prelude = `
local function has(token)
  local lease = redis.pcall('GET', KEYS[1])
  return type(lease) == 'string' and string.sub(lease, 1, #token + 1) == token .. ' '
end

local function publish(epoch)
  redis.pcall('PUBLISH', ARGV[1], epoch)
end

local function grant(nonce, info, ttl, least)
  local epoch = tonumber(least)
  for _, seen in ipairs(redis.call('HMGET', KEYS[2], 'last-epoch', 'kept-epoch')) do
    epoch = math.max(epoch, tonumber(seen) or 0)
  end
  if epoch >= 9007199254740991 then
    return redis.error_reply('EPOCH there is none after ' .. string.format('%.0f', epoch))
  end
  epoch = string.format('%.0f', epoch + 1)
  local token = epoch .. '-' .. nonce
  redis.call('HSET', KEYS[2], 'last-epoch', epoch)
  redis.call('SET', KEYS[1], token .. ' ' .. info, 'PX', ttl)
  publish(epoch)
  return {1, token}
end

local function granted(lease, nonce, ttl)
  local token = lease and string.match(lease, '^(%d+%-' .. nonce .. ') ')
  if token then
    redis.call('PEXPIRE', KEYS[1], ttl)
    return {1, token}
  end
end
`

const (
	// ARGV: nonce, info, expiry in ms, least epoch. Returns {1, token}, or {0, lease} if
	// another node has it.
	acquireScript = prelude + `
local lease = redis.call('GET', KEYS[1])
if not lease then
  return grant(ARGV[2], ARGV[3], ARGV[4], ARGV[5])
end
return granted(lease, ARGV[2], ARGV[4]) or {0, lease}`

	// ARGV: as for acquireScript, then the token of the present holder. Returns
	// {1, token}, or {0, ''} if that is not it.
	takeOverScript = prelude + `
if has(ARGV[6]) then
  return grant(ARGV[2], ARGV[3], ARGV[4], ARGV[5])
end
return granted(redis.call('GET', KEYS[1]), ARGV[2], ARGV[4]) or {0, ''}`

	// ARGV: token, expiry in ms. Returns 1, or 0 if the lease is lost.
	renewScript = prelude + `
return has(ARGV[2]) and redis.call('PEXPIRE', KEYS[1], ARGV[3]) or 0`

	// ARGV: token, epoch, positions. Returns 1, or 0 if the lease is lost.
	keepScript = prelude + `
if not has(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[2], 'kept-epoch', ARGV[3], 'positions', ARGV[4])
return 1`

	// ARGV: token. Returns 1, or 0 if the lease was lost before.
	releaseScript = prelude + `
if not has(ARGV[2]) then
  return 0
end
redis.call('DEL', KEYS[1])
publish('0')
return 1`

	// Returns the lease, or "", and how long it lasts in ms, negative if there is none
	// or it does not end.
	lookScript = `return {redis.call('GET', KEYS[1]) or '', redis.call('PTTL', KEYS[1])}`
)
