"""MerchantService: applying, reviewing, and the merchant itself."""

from payswitch.v1 import merchant_pb2 as pb
from switch.api import merchant_answers as answers
from switch.api import merchant_fields as fields
from switch.api.merchant_parts import MerchantParts
from switch.domain.access import Caller
from switch.domain.merchant import MerchantState
from switch.domain.merchant_record import MerchantRecord
from switch.domain.refusals import Invalid


class OnboardingCalls(MerchantParts):
    async def Apply(self, request: pb.ApplyRequest, caller: Caller) -> pb.ApplyResponse:
        business, account = fields.business(request.business), fields.bank_account(request.account)
        if request.merchant_id:
            merchant_id = fields.merchant_id(request.merchant_id)
            record = await self.onboarding.apply_again(caller, merchant_id, business, account)
        else:
            record = await self.onboarding.apply(caller, business, account)
        return pb.ApplyResponse(application=await self._application(caller, record.id))

    async def AddDocument(self, request: pb.AddDocumentRequest, caller: Caller) -> pb.AddDocumentResponse:
        kind, content = fields.document(request)
        merchant_id = fields.merchant_id(request.merchant_id)
        document = await self.onboarding.add_document(caller, merchant_id, kind, content)
        return pb.AddDocumentResponse(document=answers.document(document))

    async def GetDocument(self, request: pb.GetDocumentRequest, caller: Caller) -> pb.GetDocumentResponse:
        merchant_id = fields.merchant_id(request.merchant_id)
        document_id = fields.uuid(request.document_id, "document_id")
        document, content = await self.onboarding.document(caller, merchant_id, document_id)
        return pb.GetDocumentResponse(document=answers.document(document), content=content)

    async def ListApplications(
        self, request: pb.ListApplicationsRequest, caller: Caller
    ) -> pb.ListApplicationsResponse:
        if request.state not in {0, *MerchantState}:
            raise Invalid("state", "is not a known state")
        size, before = fields.page_size(request.page_size), fields.before_application(request.page_token)
        found = await self.onboarding.applications(caller, request.state, before, size + 1)
        token = ""
        if len(found) > size:
            token = fields.application_token(found[size - 1].applied_time_ms, found[size - 1].id)
        applications = [answers.application(each) for each in found[:size]]
        return pb.ListApplicationsResponse(applications=applications, next_page_token=token)

    async def GetApplication(self, request: pb.GetApplicationRequest, caller: Caller) -> pb.GetApplicationResponse:
        merchant_id = fields.merchant_id(request.merchant_id)
        return pb.GetApplicationResponse(application=await self._application(caller, merchant_id))

    async def ReviewApplication(
        self, request: pb.ReviewApplicationRequest, caller: Caller
    ) -> pb.ReviewApplicationResponse:
        reason = fields.reason(request.reason, 0 if request.approve else 1)
        merchant_id = fields.merchant_id(request.merchant_id)
        await self.onboarding.review(caller, merchant_id, request.round, request.approve, reason)
        return pb.ReviewApplicationResponse(application=await self._application(caller, merchant_id))

    async def _application(self, caller: Caller, merchant_id: str) -> pb.MerchantApplication:
        return answers.application(*await self.onboarding.application(caller, merchant_id))

    # --- the merchant -------------------------------------------------------------------------------------------------

    async def SuspendMerchant(self, request: pb.SuspendMerchantRequest, caller: Caller) -> pb.SuspendMerchantResponse:
        merchant_id, reason = fields.merchant_id(request.merchant_id), fields.reason(request.reason)
        record = await self.keeping.suspend(caller, merchant_id, reason)
        return pb.SuspendMerchantResponse(merchant=await self._merchant(caller, record))

    async def ResumeMerchant(self, request: pb.ResumeMerchantRequest, caller: Caller) -> pb.ResumeMerchantResponse:
        merchant_id, reason = fields.merchant_id(request.merchant_id), fields.reason(request.reason)
        record = await self.keeping.resume(caller, merchant_id, reason)
        return pb.ResumeMerchantResponse(merchant=await self._merchant(caller, record))

    async def CloseMerchant(self, request: pb.CloseMerchantRequest, caller: Caller) -> pb.CloseMerchantResponse:
        merchant_id, reason = fields.merchant_id(request.merchant_id), fields.reason(request.reason)
        record = await self.keeping.close(caller, merchant_id, reason)
        return pb.CloseMerchantResponse(merchant=await self._merchant(caller, record))

    async def GetMerchant(self, request: pb.GetMerchantRequest, caller: Caller) -> pb.GetMerchantResponse:
        merchant_id = fields.merchant_id(request.merchant_id)
        return pb.GetMerchantResponse(merchant=answers.merchant(*await self.accounts.merchant(caller, merchant_id)))

    async def ChangeContact(self, request: pb.ChangeContactRequest, caller: Caller) -> pb.ChangeContactResponse:
        merchant_id, contact = fields.merchant_id(request.merchant_id), fields.contact(request.contact, "contact")
        record = await self.keeping.change_contact(caller, merchant_id, contact)
        return pb.ChangeContactResponse(merchant=await self._merchant(caller, record))

    async def _merchant(self, caller: Caller, record: MerchantRecord) -> pb.Merchant:
        _, account = await self.accounts.merchant(caller, record.id)
        return answers.merchant(record, account)

    async def ListMerchantChanges(
        self, request: pb.ListMerchantChangesRequest, caller: Caller
    ) -> pb.ListMerchantChangesResponse:
        merchant_id = fields.merchant_id(request.merchant_id)
        size, before = fields.page_size(request.page_size), fields.before_change(request.page_token)
        found = await self.keeping.changes(caller, merchant_id, before, size + 1)
        token = str(found[size - 1][0]) if len(found) > size else ""
        changes = [answers.change(time_ms, entry) for _, time_ms, entry in found[:size]]
        return pb.ListMerchantChangesResponse(changes=changes, next_page_token=token)
