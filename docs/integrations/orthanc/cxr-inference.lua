-- Orthanc asks cxr-inference about each radiograph it stores, and keeps report and overlay in the same study.
-- What this way does not guarantee: README.md beside this file. Research use only, not a medical device.

local SERVICE = 'http://127.0.0.1:8000'
local QUESTION = '/v1/explain'  -- '?model=…&operating_point=…' may follow
local HEADERS = {               -- sent with each request, for a service or proxy that wants to know who asks
  -- ['Authorization'] = 'Bearer …',
}
local TRIES = 3           -- of each radiograph: when it is stored, then whenever a study has become stable
local MAX_WAITING = 1000  -- radiographs that wait for another try

-- Both have to fit. Secondary captures count, because real radiographs carry that class.
local MODALITIES = { CR = true, DX = true, RF = true, RG = true }
local CLASSES = {
  ['1.2.840.10008.5.1.4.1.1.1'] = true,      -- computed radiography
  ['1.2.840.10008.5.1.4.1.1.1.1'] = true,    -- digital X-ray, for presentation
  ['1.2.840.10008.5.1.4.1.1.1.1.1'] = true,  -- digital X-ray, for processing
  ['1.2.840.10008.5.1.4.1.1.7'] = true,      -- secondary capture
  ['1.2.840.10008.5.1.4.1.1.7.2'] = true,    -- the same of several frames: grey, 8 bits
  ['1.2.840.10008.5.1.4.1.1.7.3'] = true,    -- grey, 16 bits
  ['1.2.840.10008.5.1.4.1.1.7.4'] = true,    -- colour
}
local OURS = 'cxr-inference'  -- the manufacturer of our own results, which are never read

local TRANSIENT = {
  [408] = true, [425] = true, [429] = true, [500] = true, [502] = true, [503] = true, [504] = true,
}

local waiting = {}  -- {id, tries}, the one that waits longest first

-- Instances are named by Orthanc's identifier, a hash; nothing of the patient is logged.
local function log(id, text)
  print('cxr: ' .. id .. ' ' .. text)
end

-- Gives '' for no answer and for any status but 200, which Lua cannot see; Orthanc logs it.
local function ask(path, accept, content_type, body)
  -- Never without headers: Orthanc 1.10.1 aborts when it is given an empty table of them.
  local headers = { ['Accept'] = accept, ['Content-Type'] = content_type }
  for name, value in pairs(HEADERS) do headers[name] = value end
  return HttpPost(SERVICE .. path, body, headers) or ''
end

-- Gives the parts of a whole multipart body (RFC 2046, 5.1.1), else nil.
local function split(body)
  local delimiter = body:match('^%-%-[^\r\n]+')
  local parts, from = {}, 1
  while delimiter do
    if body:sub(from, from + #delimiter + 1) == delimiter .. '--' then return parts end
    local _, head = body:find('\r\n\r\n', from, true)
    local stop = head and body:find('\r\n' .. delimiter, head - 1, true)
    if not stop then return nil end
    parts[#parts + 1] = body:sub(head + 1, stop - 1)
    from = stop + 2
  end
end

-- Gives the problem with an image, else nil. Of two images the bad one fails alone, with status 200,
-- and so its problem can be read here; the second one is empty.
local function problem_with(id, image)
  local part = '--' .. id .. '\r\nContent-Disposition: form-data; name="files"; filename="image"\r\n\r\n'
  local form = part .. image .. '\r\n' .. part .. '\r\n--' .. id .. '--\r\n'
  local told = ParseJson(ask('/v1/predict', 'application/json', 'multipart/form-data; boundary=' .. id, form))
  local results = type(told) == 'table' and told['results']
  return results and results[1] and results[1]['problem']
end

-- Gives whether there is nothing more to do.
local function read(id)
  local image = RestApiGet('/instances/' .. id .. '/file', true)
  if not image then
    log(id, 'is not there any more')
    return true
  end
  local answer = ask(QUESTION, 'multipart/related; type="application/dicom"', 'application/dicom', image)
  local objects = split(answer)
  if not objects or #objects == 0 then
    local problem = problem_with(id, image)
    if problem and not TRANSIENT[problem['status']] then
      log(id, string.format('is refused: %d %s', problem['status'], problem['type']))
      return true
    end
    log(id, 'was not read: no answer, or a passing problem')
    return false
  end
  for _, object in ipairs(objects) do
    local told = ParseJson(RestApiPost('/instances', object, true) or '')
    local status = type(told) == 'table' and told['Status']
    if status ~= 'Success' and status ~= 'AlreadyStored' then
      log(id, 'was read, but Orthanc did not store the results')
      return false
    end
  end
  log(id, 'was read, ' .. #objects .. ' results stored')
  return true
end

-- Gives whether it was read or refused.
local function try(id, tries)
  if read(id) then return true end
  if tries >= TRIES then
    log(id, 'is given up after ' .. tries .. ' tries; store it again to have it read')
  else
    waiting[#waiting + 1] = { id = id, tries = tries }
    if #waiting > MAX_WAITING then log(table.remove(waiting, 1).id, 'is given up: too many wait') end
  end
  return false
end

function OnStoredInstance(id, tags, metadata, origin)
  local is_radiograph = CLASSES[tags['SOPClassUID']] and MODALITIES[tags['Modality']]
  if is_radiograph and tags['Manufacturer'] ~= OURS then try(id, 1) end
end

-- Those that wait are tried in turn until one fails again: the others then wait on, at the front.
function OnStableStudy(study, tags, metadata)
  for _ = 1, #waiting do
    local one = table.remove(waiting, 1)
    if not try(one.id, one.tries + 1) then return end
  end
end

function Finalize()
  for _, one in ipairs(waiting) do log(one.id, 'is forgotten, because Orthanc stops') end
end
