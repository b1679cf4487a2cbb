-- Sends the requests of a pool, one after the other, and starts again at its end.
--
-- usage: wrk ... -s wrk.lua URL -- POOL OFFSET
--
-- POOL holds whole requests, each after its length in eight digits. They are complete, so that
-- nothing is computed here between two requests.

local requests, threads = {}, {}
local at
sent = 0 -- global: read from outside with thread:get

function setup(thread)
   table.insert(threads, thread)
end

function init(args)
   local pool = assert(io.open(args[1], "rb"))
   at = tonumber(args[2])
   while true do
      local length = pool:read(8)
      if not length then break end
      requests[#requests + 1] = pool:read(tonumber(length))
   end
   pool:close()
end

-- wrk itself takes one request, to look at it, before it starts.
function request()
   at = at + 1
   if at > #requests then at = 1 end
   sent = sent + 1
   return requests[at]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\nresult {"requests": %d, "seconds": %f, "sent": %d, "failed": %d, "p50_us": %d, "p99_us": %d, "p999_us": %d, "max_us": %d}\n',
      summary.requests, summary.duration / 1e6, threads[1]:get("sent") - 1,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout,
      latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
